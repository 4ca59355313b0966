"""What testgrove knows of the engine before it needs one."""

from testgrove.engines import Engine, Fixture, Hints

ENGINE = Engine(
    name="kv",
    title="KV",
    implementation="testgrove_kv.engine:KV",
    port=7070,
    schemes=("kv",),
    isolation="instance",
    shared_only=True,
    test_isolations=("reset",),
    url_variable="KV_URL",
    variables=lambda access: {"KV_PORT": str(access.port)},
    variable_names=("KV_PORT",),
    default_database="main",
    migrates=True,
    read_from="KV_URL",
    without=frozenset(("extensions", "path")),
    fixtures=(
        Fixture("kv_url", doc="The URL of a KV of this process's own."),
        Fixture(
            "kv_client", make="kv_driver:Client.connect", keywords={"auth": ["{user}", "{password}"]}, close="close"
        ),
    ),
    hints=Hints(frozenset(("kv-client",))),
)

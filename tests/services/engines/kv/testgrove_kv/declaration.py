"""What testgrove knows of the engine before it needs one."""

from testgrove.engines import Engine, Fixture, Hints

ENGINE = Engine(
    name="kv",
    title="KV",
    implementation="testgrove_kv.engine:KV",
    port=7070,
    schemes=("kv",),
    isolation="instance",
    hosts=("embedded",),
    test_isolations=("reset",),
    url_variable="KV_URL",
    variables=lambda access: {"KV_PORT": str(access.port)},
    variable_names=("KV_PORT",),
    default_database="main",
    without=frozenset(("migrate", "migrate_to", "inputs", "extensions", "path")),
    fixtures=(
        Fixture("kv_url", doc="The URL of a KV of this process's own."),
        Fixture(
            "kv_client", make="kv_driver:Client.connect", keywords={"auth": ["{user}", "{password}"]}, close="close"
        ),
    ),
    hints=Hints(frozenset(("kv-client",))),
)

import pytest

from testgrove.errors import UsageError
from testgrove.services.migrations.inputs import read_inputs


def write(tree, *paths):
    for path in paths:
        file = tree / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(path)


def names(tree, *globs):
    return [name for name, _ in read_inputs(tree, globs)]


def test_what_migration_tools_use_is_found_without_configuration(tmp_path):
    write(
        tmp_path,
        "alembic.ini",
        "alembic/env.py",
        "alembic/versions/1.py",
        "manage.py",
        "shop/orders/migrations/0001.py",
        "migrations/1.sql",
        "db/schema.sql",
        "shop/settings.py",
        "shop/models.py",
        "README.md",
    )
    assert names(tmp_path) == [
        "alembic.ini",
        "alembic/env.py",
        "alembic/versions/1.py",
        "db/schema.sql",
        "manage.py",
        "migrations/1.sql",
        "shop/orders/migrations/0001.py",
        "shop/settings.py",
    ]


def test_content_and_order_are_those_of_the_tree(tmp_path):
    write(tmp_path, "b/2.sql", "a/9.sql", "b/10.sql")
    assert list(read_inputs(tmp_path)) == [("a/9.sql", b"a/9.sql"), ("b/10.sql", b"b/10.sql"), ("b/2.sql", b"b/2.sql")]


def test_without_any_migration_every_python_file_counts(tmp_path):
    write(tmp_path, "shop/models.py", "tools/init_db.py", "README.md")
    assert names(tmp_path) == ["shop/models.py", "tools/init_db.py"]


def test_globs_replace_the_defaults(tmp_path):
    write(tmp_path, "alembic.ini", "seed/a.csv", "seed/deep/b.csv", "seed.csv", "x/seed/c.csv")
    assert names(tmp_path, "seed/**") == ["seed/a.csv", "seed/deep/b.csv"]
    assert names(tmp_path, "**/*.csv") == ["seed.csv", "seed/a.csv", "seed/deep/b.csv", "x/seed/c.csv"]
    assert names(tmp_path, "*.csv", "seed/?.csv") == ["seed.csv", "seed/a.csv"]


def test_environments_caches_and_git_are_left_out(tmp_path):
    write(
        tmp_path,
        "migrations/1.sql",
        ".venv/pyvenv.cfg",
        ".venv/lib/django/migrations/1.py",
        ".git/x.sql",
        "migrations/__pycache__/1.pyc",
        "node_modules/y.sql",
        "other-env/pyvenv.cfg",
        "other-env/z.sql",
    )
    assert names(tmp_path) == ["migrations/1.sql"]


def test_a_linked_folder_is_read_and_a_loop_ends(tmp_path):
    write(tmp_path, "shared/1.sql")
    project = tmp_path / "project"
    project.mkdir()
    (project / "migrations").symlink_to(tmp_path / "shared")
    (tmp_path / "shared" / "loop").symlink_to(project)
    (project / "dangling.sql").symlink_to("nowhere")
    assert names(project) == ["migrations/1.sql"]


@pytest.mark.parametrize("glob", ["../other/**", "/etc/passwd", "a/../../b", "~/x"])
def test_a_glob_that_leads_out_of_the_project_is_refused(tmp_path, glob):
    with pytest.raises(UsageError) as caught:
        names(tmp_path, glob)
    assert caught.value.code == "inputs-outside"
    assert glob in caught.value.message


def test_globs_that_match_nothing_are_an_error(tmp_path):
    with pytest.raises(UsageError, match="migrashuns"):
        names(tmp_path, "migrashuns/**")

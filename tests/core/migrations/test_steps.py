from testgrove.core.migrations.steps import Migration, in_order, steps


def plan(*texts, app=""):
    """Migrations from texts such as ``d<b,c``."""
    found = []
    for text in texts:
        name, _, parents = text.partition("<")
        found.append(Migration(name, tuple(filter(None, parents.split(","))), app))
    return in_order(found)


def ways(found):
    return [(step.name, dict(step.before), dict(step.after)) for step in found]


def test_a_line_of_migrations_is_a_step_each():
    assert ways(steps(plan("a", "b<a", "c<b"))) == [
        ("a", {"": ""}, {"": "a"}),
        ("b", {"": "a"}, {"": "b"}),
        ("c", {"": "b"}, {"": "c"}),
    ]


def test_they_are_put_in_order():
    assert [each.name for each in plan("c<b", "b<a", "a")] == ["a", "b", "c"]


def test_branches_that_are_merged_again_are_one_step():
    found = ways(steps(plan("a", "b<a", "c<a", "d<b,c", "e<d")))
    assert [(before[""], after[""]) for _, before, after in found] == [("", "a"), ("a", "d"), ("d", "e")]
    assert found[1][0] == "d (and 2 before it)"


def test_several_beginnings_that_are_merged_are_one_step():
    found = ways(steps(plan("a", "b", "c<a,b")))
    assert [(before[""], after[""]) for _, before, after in found] == [("", "c")]


def test_apps_have_sequences_of_their_own_and_libraries_go_together():
    library = [Migration("0001", (), "auth", ours=False), Migration("0001", (), "admin", ours=False)]
    own = [Migration("0001", (), "shop"), Migration("0002", ("0001",), "shop")]
    found = steps([*library, own[0], Migration("0002", ("0001",), "auth", ours=False), own[1]])
    assert [step.name for step in found] == ["admin.0001 (and 1 before it)", "shop.0001", "auth.0002", "shop.0002"]
    assert [step.ours for step in found] == [False, True, False, True]
    assert dict(found[0].before) == {"auth": "", "admin": ""}
    assert dict(found[3].before) == {"shop": "0001"}

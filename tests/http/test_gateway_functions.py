"""Functions through an unmodified PostgREST client."""


def test_rpc_returns_the_jsonb_a_function_returns(project):
    """One jsonb value comes back as it is, arguments by name, of their own types."""
    project.sql(
        "create function public.echo(p_user uuid, p_many integer[], p_doc jsonb, p_note text default 'none')"
        " returns jsonb language sql volatile as"
        " $$ select jsonb_build_object('user', p_user, 'many', p_many, 'doc', p_doc, 'note', p_note) $$"
    )
    user = "11111111-1111-4111-8111-111111111111"
    found = project.rest().rpc("echo", {"p_user": user, "p_many": [1, 2], "p_doc": {"a": [None, 1.5]}}).execute().data
    assert found == {"user": user, "many": [1, 2], "doc": {"a": [None, 1.5]}, "note": "none"}

"""Objects of the host that have names of Hangar's, found before the first file is applied."""

from collections.abc import Sequence

import psycopg

from ops.install.belongings import IS_OURS
from ops.install.errors import InstallRefused
from ops.install.original_upgrade import TABLES
from ops.install.schema_files import SchemaFile, list_procedures, list_relations

_SHOWN = 5
_TAKEN = f"""
  select case when c.relkind in ('v', 'm') then 'view' when c.relkind in ('r', 'p', 'f') then 'table' else 'object' end
         || ' public.' || c.relname
    from pg_class c where c.relnamespace = 'public'::regnamespace and c.relname = any (%(relations)s)
  union all
  select 'type public.' || t.typname from pg_type t
   where t.typnamespace = 'public'::regnamespace and t.typname = any (%(relations)s) and t.typrelid = 0
  union all
  select format('function public.%%I(%%s)', p.proname, pg_get_function_identity_arguments(p.oid)) from pg_proc p
   where p.pronamespace = 'public'::regnamespace and p.proname = any (%(functions)s) and not {IS_OURS}
  order by 1
"""  # noqa: S608  a constant of the other module


def refuse_conflicts(
    connection: psycopg.Connection, pending: Sequence[SchemaFile], files: Sequence[SchemaFile]
) -> None:
    """Raise InstallRefused if the host has an object with a name that one of these files would create in `public`.

    A part of the schema would stay behind otherwise, and a function of the same name with other arguments would make calls
    ambiguous. The tables of the original system are upgraded, so they are no conflict; nor is a procedure of ours (`files`).
    """
    relations = [name for name in list_relations(pending) if name not in TABLES]
    ours, texts = list_procedures(files)
    values = {"relations": relations, "functions": list_procedures(pending)[0], "ours": ours, "texts": texts}
    rows = connection.execute(_TAKEN.encode(), values).fetchall()
    taken = [str(name) for (name,) in rows]
    if taken:
        more = f" and {len(taken) - _SHOWN} more" if len(taken) > _SHOWN else ""
        raise InstallRefused(
            f"this database already has {', '.join(taken[:_SHOWN])}{more}, and Hangar needs these names. Rename them, or "
            "move them to another schema. Nothing was changed"
        )

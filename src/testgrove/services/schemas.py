"""Reading a database's schema: all that a migration can make there, without rows, without what its tool keeps."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testgrove.errors import UnavailableError
from testgrove.services.postgres_sql import reported

if TYPE_CHECKING:
    from testgrove.core.model import DatabaseAccess
    from testgrove.core.schema import Schema

_OWN = ("alembic_version", "django_migrations")  # tables that migration tools keep for themselves


def read_schema(access: DatabaseAccess) -> Schema:
    """What there is in a database of PostgreSQL or SQLite. Raises UnavailableError."""
    found = _sqlite(Path(access.name)) if access.engine == "sqlite" else _postgres(access)
    return _without_versions(found)


def _without_versions(schema: dict[str, str]) -> Schema:
    """Alembic's own table can have another name, but has one column alone."""
    tables = [name.partition(" ")[2] for name in schema if name.startswith("table ")]
    for table in tables:
        columns = [name for name in schema if name.startswith(f"column {table}.")]
        if columns == [f"column {table}.version_num"]:
            of_table = (f"table {table}", *columns, f"constraint {table}.{table.rpartition('.')[2]}_pkc")
            schema = {name: text for name, text in schema.items() if name not in of_table}
    return schema


# PostgreSQL. Names are whole, so that two schemas can be compared whatever their databases are called.

_POSTGRES = """
WITH s AS (
    SELECT oid, nspname, nspowner, nspacl FROM pg_namespace
     WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
       AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_namespace'::regclass AND d.objid = pg_namespace.oid
                                                 AND d.deptype = 'e')
), r AS (
    SELECT c.*, format('%%I.%%I', s.nspname, c.relname) AS name FROM pg_class c JOIN s ON s.oid = c.relnamespace
     WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                                                 AND d.deptype = 'e')
       AND NOT c.relname = ANY (%(own)s)
       AND NOT EXISTS (SELECT FROM pg_depend d JOIN pg_class t ON t.oid = d.refobjid AND t.relname = ANY (%(own)s)
                        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND c.relkind IN ('S', 'i'))
), t AS (
    SELECT y.*, format('%%I.%%I', s.nspname, y.typname) AS name FROM pg_type y JOIN s ON s.oid = y.typnamespace
     WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_type'::regclass AND d.objid = y.oid
                                                 AND d.deptype = 'e')
), f AS (
    SELECT p.*, format('%%I.%%I(%%s)', s.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) AS name
      FROM pg_proc p JOIN s ON s.oid = p.pronamespace
     WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
                                                 AND d.deptype = 'e')
)
SELECT 'schema ' || quote_ident(nspname), '' FROM s
UNION ALL
SELECT 'extension ' || quote_ident(extname), extversion FROM pg_extension
UNION ALL
SELECT CASE relkind WHEN 'f' THEN 'foreign table ' ELSE 'table ' END || name,
       concat_ws(', ', CASE relpersistence WHEN 'u' THEN 'UNLOGGED' END, 'PARTITION BY ' || pg_get_partkeydef(oid),
                 pg_get_expr(relpartbound, oid), CASE WHEN relrowsecurity THEN 'ROW LEVEL SECURITY' END,
                 CASE WHEN relforcerowsecurity THEN 'FORCED' END, 'WITH ' || reloptions::text)
  FROM r WHERE relkind IN ('r', 'p', 'f')
UNION ALL
SELECT CASE relkind WHEN 'm' THEN 'materialized view ' ELSE 'view ' END || name, pg_get_viewdef(oid, true)
  FROM r WHERE relkind IN ('v', 'm')
UNION ALL
SELECT CASE relkind WHEN 'c' THEN 'attribute ' ELSE 'column ' END || r.name || '.' || quote_ident(attname),
       concat_ws(' ', format_type(atttypid, atttypmod),
                 CASE WHEN attcollation <> y.typcollation THEN 'COLLATE ' || attcollation::regcollation END,
                 CASE WHEN attnotnull THEN 'NOT NULL' END,
                 CASE attidentity WHEN 'a' THEN 'ALWAYS IDENTITY' WHEN 'd' THEN 'IDENTITY' END,
                 CASE attgenerated WHEN '' THEN 'DEFAULT ' ELSE 'GENERATED ' END || pg_get_expr(adbin, adrelid))
  FROM pg_attribute JOIN r ON r.oid = attrelid AND relkind IN ('r', 'p', 'f', 'c') JOIN pg_type y ON y.oid = atttypid
  LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
 WHERE attnum > 0 AND NOT attisdropped
UNION ALL
SELECT 'constraint ' || coalesce(r.name, t.name) || '.' || quote_ident(conname), pg_get_constraintdef(k.oid)
  FROM pg_constraint k LEFT JOIN r ON r.oid = conrelid LEFT JOIN t ON t.oid = contypid
 WHERE contype IN ('c', 'f', 'p', 'u', 'x') AND (r.oid IS NOT NULL OR t.oid IS NOT NULL)
UNION ALL
SELECT 'index ' || r.name, pg_get_indexdef(r.oid) || CASE WHEN indisvalid THEN '' ELSE ' INVALID' END
  FROM r JOIN pg_index ON indexrelid = r.oid
 WHERE NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = r.oid AND k.contype IN ('p', 'u', 'x'))
UNION ALL
SELECT 'sequence ' || r.name,
       format('%%s START %%s INCREMENT %%s MIN %%s MAX %%s%%s', format_type(seqtypid, NULL), seqstart, seqincrement,
              seqmin, seqmax, CASE WHEN seqcycle THEN ' CYCLE' END)
       || coalesce((SELECT ' OWNED BY ' || o.name || '.' || quote_ident(attname) FROM pg_depend d
                      JOIN r o ON o.oid = d.refobjid JOIN pg_attribute ON attrelid = o.oid AND attnum = d.refobjsubid
                     WHERE d.classid = 'pg_class'::regclass AND d.objid = r.oid AND d.deptype IN ('a', 'i')), '')
  FROM r JOIN pg_sequence ON seqrelid = r.oid
UNION ALL
SELECT CASE prokind WHEN 'p' THEN 'procedure ' WHEN 'a' THEN 'aggregate ' ELSE 'function ' END || name,
       CASE prokind WHEN 'a' THEN format_type(prorettype, NULL) ELSE pg_get_functiondef(oid) END FROM f
UNION ALL
SELECT 'trigger ' || r.name || '.' || quote_ident(tgname),
       pg_get_triggerdef(g.oid) || CASE tgenabled WHEN 'O' THEN '' ELSE ' ENABLED ' || tgenabled::text END
  FROM pg_trigger g JOIN r ON r.oid = tgrelid WHERE NOT tgisinternal
UNION ALL
SELECT 'type ' || name, (SELECT string_agg(quote_literal(enumlabel), ', ' ORDER BY enumsortorder) FROM pg_enum
                          WHERE enumtypid = t.oid)
  FROM t WHERE typtype = 'e'
UNION ALL
SELECT CASE typtype WHEN 'd' THEN 'domain ' ELSE 'type ' END || name,
       concat_ws(' ', CASE typtype WHEN 'd' THEN format_type(typbasetype, typtypmod) ELSE 'range' END,
                 CASE WHEN typnotnull THEN 'NOT NULL' END, 'DEFAULT ' || typdefault)
  FROM t WHERE typtype IN ('d', 'r')
UNION ALL
SELECT 'policy ' || r.name || '.' || quote_ident(polname),
       concat_ws(' ', polcmd::text, polpermissive::text, polroles::regrole[]::text,
                 'USING ' || pg_get_expr(polqual, polrelid), 'CHECK ' || pg_get_expr(polwithcheck, polrelid))
  FROM pg_policy JOIN r ON r.oid = polrelid
UNION ALL
SELECT 'rule ' || r.name || '.' || quote_ident(rulename), pg_get_ruledef(w.oid)
  FROM pg_rewrite w JOIN r ON r.oid = ev_class WHERE rulename <> '_RETURN'
UNION ALL
SELECT 'statistics ' || quote_ident(stxname), pg_get_statisticsobjdef(x.oid) FROM pg_statistic_ext x
  JOIN s ON s.oid = stxnamespace
UNION ALL
SELECT 'privileges ' || r.name || ' ' || coalesce(nullif(grantee, 0)::regrole::text, 'PUBLIC'),
       string_agg(privilege_type, ', ' ORDER BY privilege_type)
  FROM r CROSS JOIN aclexplode(relacl) WHERE grantee <> relowner GROUP BY r.name, grantee
UNION ALL
SELECT 'privileges schema ' || quote_ident(nspname) || ' ' || coalesce(nullif(grantee, 0)::regrole::text, 'PUBLIC'),
       string_agg(privilege_type, ', ' ORDER BY privilege_type)
  FROM s CROSS JOIN aclexplode(nspacl) WHERE grantee <> nspowner GROUP BY nspname, grantee
UNION ALL
SELECT 'comment ' || CASE WHEN objsubid > 0 THEN 'column ' || r.name || '.' || quote_ident(attname) ELSE r.name END,
       description
  FROM pg_description JOIN r ON r.oid = objoid AND classoid = 'pg_class'::regclass
  LEFT JOIN pg_attribute ON attrelid = objoid AND attnum = objsubid AND objsubid > 0
UNION ALL
SELECT 'comment ' || f.name, description FROM pg_description JOIN f ON f.oid = objoid AND classoid = 'pg_proc'::regclass
UNION ALL
SELECT 'comment ' || t.name, description FROM pg_description JOIN t ON t.oid = objoid AND classoid = 'pg_type'::regclass
UNION ALL
SELECT 'event trigger ' || quote_ident(evtname), evtevent || ' ' || evtfoid::regproc FROM pg_event_trigger
UNION ALL
SELECT 'publication ' || quote_ident(pubname),
       (SELECT string_agg(prrelid::regclass::text, ', ' ORDER BY prrelid::regclass::text) FROM pg_publication_rel
         WHERE prpubid = p.oid)
  FROM pg_publication p
UNION ALL
SELECT CASE setrole WHEN 0 THEN 'setting ' ELSE 'setting of the role ' END || split_part(setting, '=', 1),
       substr(setting, strpos(setting, '=') + 1)
  FROM pg_db_role_setting x CROSS JOIN unnest(setconfig) AS setting
 WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def _postgres(access: DatabaseAccess) -> dict[str, str]:
    import psycopg  # noqa: PLC0415 - heavy, and an extra

    with reported(f"read the schema of {access.name}"), psycopg.connect(access.url(), connect_timeout=10) as session:
        session.execute("SET search_path = ''")  # so that every name is whole
        found = session.execute(_POSTGRES, {"own": list(_OWN)}).fetchall()
    return {name: definition or "" for name, definition in found}


# SQLite. The text of a table's CREATE is not compared: a tool that copies a table to change it writes another one.


def _sqlite(path: Path) -> dict[str, str]:
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            rows = database.execute("SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_master").fetchall()
            found: dict[str, str] = {}
            for kind, name, table, text in rows:
                if table in _OWN or name.startswith("sqlite_"):
                    continue
                if kind == "table":
                    found |= _table(database, name, text)
                else:
                    found[f"{kind} {name}"] = _plain(text)
            return found
    except sqlite3.Error as error:
        raise UnavailableError("sqlite-failed", f"cannot read the schema of {path}: {error}") from error


def _table(database: sqlite3.Connection, name: str, text: str) -> dict[str, str]:
    words = [
        word for word in ("AUTOINCREMENT", "WITHOUT ROWID", "STRICT") if re.search(rf"\b{word}\b", text, re.IGNORECASE)
    ]
    if text.upper().startswith("CREATE VIRTUAL"):
        return {f"table {name}": _plain(text)}
    found = {f"table {name}": ", ".join([*words, *sorted(_checks(text))])}
    for _, column, kind, required, default, key, hidden in _pragma(database, "table_xinfo", name):
        parts = [kind, "NOT NULL" * required, f"DEFAULT {default}" * (default is not None), f"KEY {key}" * bool(key)]
        found[f"column {name}.{column}"] = " ".join(filter(None, [*parts, "GENERATED" * (hidden in {2, 3})]))
    keys: dict[int, list[tuple[Any, ...]]] = {}
    for number, *rest in _pragma(database, "foreign_key_list", name):
        keys.setdefault(number, []).append(tuple(rest))
    for parts in keys.values():
        ours, theirs = (", ".join(str(row[at]) for row in sorted(parts)) for at in (2, 3))
        _, table, _, _, update, delete, _ = parts[0]
        found[f"foreign key {name} ({ours})"] = f"{table} ({theirs}) ON UPDATE {update} ON DELETE {delete}"
    for _, index, unique, origin, _ in _pragma(database, "index_list", name):
        if origin == "u" and unique:
            columns = ", ".join(str(row[2]) for row in _pragma(database, "index_info", index))
            found[f"unique {name} ({columns})"] = ""
    return found


def _pragma(database: sqlite3.Connection, pragma: str, name: str) -> list[Any]:
    return database.execute(f"SELECT * FROM pragma_{pragma}(?)", (name,)).fetchall()  # noqa: S608 - our own words


def _checks(text: str) -> list[str]:
    """The CHECK conditions of a table: what is in the brackets behind the word."""
    found = []
    for start in re.finditer(r"\bCHECK\s*\(", text, re.IGNORECASE):
        depth, end = 1, start.end()
        while depth and end < len(text):
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        found.append(f"CHECK ({_plain(text[start.end() : end - 1])})")
    return found


def _plain(text: str) -> str:
    return " ".join(text.split())

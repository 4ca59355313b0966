"""The schema of a PostgreSQL database, from its catalogs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testgrove.services.engines.postgres.sql import connect_as_owner, reported

if TYPE_CHECKING:
    from testgrove.core.model import DatabaseAccess

OWN = ("alembic_version", "django_migrations")  # tables that migration tools keep for themselves

# Names are whole, so that two schemas can be compared whatever their databases are called.
_SCHEMA = """
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


def read(access: DatabaseAccess) -> dict[str, str]:
    """Each thing by its kind and name, with its definition. Raises UnavailableError."""
    with reported(f"read the schema of {access.name}"), connect_as_owner(access) as session:
        session.execute("SET search_path = ''")  # so that every name is whole
        found = session.execute(_SCHEMA, {"own": list(OWN)}).fetchall()
    return {name: definition or "" for name, definition in found}


def is_untouched(access: DatabaseAccess) -> bool:
    """Return whether a database contains only what a new one has, and extensions. Raises UnavailableError."""
    with reported(f"inspect {access.name}"), connect_as_owner(access) as session:
        return session.execute(_ANY).fetchone() is None


_ANY = """
SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
 WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND nspname !~ '^pg_' AND nspname <> 'information_schema'
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                                             AND d.deptype = 'e')
UNION ALL
SELECT FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'public')
UNION ALL
SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace
 WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
                                             AND d.deptype = 'e')
UNION ALL
SELECT FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace
 WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid
                                             AND d.deptype = 'e')
"""


_TABLES = """
SELECT nspname, relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
 WHERE relkind IN ('r', 'p') AND nspname !~ '^pg_' AND nspname <> 'information_schema' AND NOT relname = ANY (%(own)s)
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                                             AND d.deptype = 'e')
   AND ARRAY['version_num'::name] <> (SELECT array_agg(attname) FROM pg_attribute
                                       WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped)
"""


def delete_rows(access: DatabaseAccess) -> None:
    """Empty every table, but those that migration tools keep for themselves. Raises UnavailableError."""
    from psycopg import sql  # noqa: PLC0415 - heavy, and an extra

    with reported(f"empty {access.name}"), connect_as_owner(access) as session:
        names = session.execute(_TABLES, {"own": list(OWN)}).fetchall()
        if names:
            tables = sql.SQL(", ").join(sql.Identifier(schema, name) for schema, name in names)
            session.execute(sql.SQL("TRUNCATE {} CASCADE").format(tables))

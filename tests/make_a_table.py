"""A migration in one line of SQL: a table in the database that the environment names."""

import os
import sqlite3

if "SQLITE_PATH" in os.environ:
    with sqlite3.connect(os.environ["SQLITE_PATH"]) as database:
        database.execute("CREATE TABLE IF NOT EXISTS made (n int)")
    database.close()
else:
    import psycopg

    with psycopg.connect(os.environ["DATABASE_URL"]) as session:
        session.execute("CREATE TABLE IF NOT EXISTS made (n int)")

-- The store as testgrove wrote it on 2026-11-21 (commit 17bf952): a worktree from `create`, one that a run has parked, and a
-- run that was killed while it made its worktree. Names between @ are filled in by the test.
PRAGMA user_version = 2;
BEGIN TRANSACTION;
CREATE TABLE holders (mark TEXT PRIMARY KEY, command TEXT NOT NULL, pid INTEGER NOT NULL, started REAL NOT NULL);
CREATE TABLE projects (id TEXT PRIMARY KEY, common_dir TEXT NOT NULL UNIQUE, main TEXT NOT NULL);
CREATE TABLE worktrees (
    project TEXT NOT NULL REFERENCES projects (id), id TEXT NOT NULL, purpose TEXT NOT NULL,
    identifier TEXT NOT NULL, path TEXT NOT NULL UNIQUE, status TEXT NOT NULL, branch TEXT NOT NULL DEFAULT '',
    commit_id TEXT NOT NULL DEFAULT '', created TEXT NOT NULL, parked REAL, holder TEXT, run TEXT,
    python TEXT NOT NULL DEFAULT '', env_file TEXT NOT NULL DEFAULT '.env.test', ports TEXT NOT NULL DEFAULT '{}',
    databases TEXT NOT NULL DEFAULT '{}', environment TEXT NOT NULL DEFAULT 'null', plan TEXT NOT NULL DEFAULT '[]',
    own_commits TEXT NOT NULL DEFAULT '[]', manifest TEXT NOT NULL DEFAULT '', attempt_from REAL,
    note TEXT NOT NULL DEFAULT '', ref TEXT NOT NULL DEFAULT '', PRIMARY KEY (project, id));
CREATE TABLE leases (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL,
    data TEXT NOT NULL, UNIQUE (kind, key));
CREATE INDEX leases_owner ON leases (owner);
CREATE TABLE runs (
    id TEXT PRIMARY KEY, project TEXT NOT NULL REFERENCES projects (id), folder TEXT NOT NULL,
    started REAL NOT NULL, holder TEXT NOT NULL);
CREATE TABLE durations (
    project TEXT NOT NULL, cell TEXT NOT NULL, seconds REAL NOT NULL, ended REAL NOT NULL,
    PRIMARY KEY (project, cell));
INSERT INTO durations VALUES('@PROJECT@','unit',0.974,1796052573.023);
INSERT INTO holders VALUES('94f2699f807781','testgrove test',30593,1796052576.37);
INSERT INTO leases VALUES(1,'worktree:@PROJECT@/review-a','ports','@NAMESPACE@:@PORT_1@','{"name": "app", "port": @PORT_1@}');
INSERT INTO leases VALUES(2,'worktree:@PROJECT@/review-a','ports','@NAMESPACE@:@PORT_2@','{"name": "api", "port": @PORT_2@}');
INSERT INTO leases VALUES(3,'worktree:@PROJECT@/review-a','ports','@NAMESPACE@:@PORT_3@','{"name": "db", "port": @PORT_3@}');
INSERT INTO leases VALUES(4,'worktree:@PROJECT@/review-a','checkout','@ROOT@/review-a','{"common_dir": "@REPO@/.git", "main": "@REPO@"}');
INSERT INTO leases VALUES(9,'worktree:@PROJECT@/test-unit-tree','checkout','@ROOT@/test-unit-tree','{"common_dir": "@REPO@/.git", "main": "@REPO@"}');
INSERT INTO leases VALUES(10,'command:94f2699f807781','processes','94f2699f407781','{}');
INSERT INTO leases VALUES(11,'run:20261130-152936-d1b2','directory','@SCRATCH@/152936-d1b2','{}');
INSERT INTO leases VALUES(13,'worktree:@PROJECT@/test-slow-tree','checkout','@ROOT@/test-slow-tree','{"common_dir": "@REPO@/.git", "main": "@REPO@"}');
INSERT INTO projects VALUES('@PROJECT@','@REPO@/.git','@REPO@');
INSERT INTO runs VALUES('20261130-152936-d1b2','@PROJECT@','@REPO@/test-artifacts/20261130-152936-d1b2',1796052576.40,'94f2699f807781');
INSERT INTO worktrees VALUES('@PROJECT@','review-a','review','a','@ROOT@/review-a','ready','','@COMMIT@','2026-11-30T15:29:29.491046+00:00',NULL,NULL,NULL,'','.env.test','{"app": @PORT_1@, "api": @PORT_2@, "db": @PORT_3@}','{}','null','["lease ports", "add checkout", "check out files", "write files", "take manifest"]','["@COMMIT@"]','@MANIFEST review-a@',NULL,'','main');
INSERT INTO worktrees VALUES('@PROJECT@','test-unit-tree','test-unit','tree','@ROOT@/test-unit-tree','parked','','@COMMIT@','2026-11-30T15:29:32.049506+00:00',1796052573.016,NULL,NULL,'3.11.7','.env.test','{}','{}','{"fingerprint": "1bcfbd5137f0b017d175ac4c1febb2df421be227", "tree_hash": "aa76cd9c27696fbb1f8a0ed7faa802840f02d47f", "python": "3.11.7", "interpreter": "/usr/bin/python3.11", "prefix": "@ROOT@/test-unit-tree/.venv", "settings": "home = /usr/bin\nimplementation = CPython\nuv = 0.13.8\nversion_info = 3.11.7\ninclude-system-site-packages = false\nseed = true\n", "distributions": [], "editable": true, "built": [], "seal": "dccc6e924f8fe7c1c5f045d82f5cf820", "notes": [], "deps": ""}','["add checkout", "check out files", "build environment", "preflight", "write files", "take manifest"]','["@COMMIT@"]','@MANIFEST test-unit-tree@',NULL,'','');
INSERT INTO worktrees VALUES('@PROJECT@','test-slow-tree','test-slow','tree','@ROOT@/test-slow-tree','creating','','@COMMIT@','2026-11-30T15:29:36.468757+00:00',NULL,'94f2699f807781','20261130-152936-d1b2','','.env.test','{}','{}','null','["add checkout", "check out files", "build environment", "preflight", "write files", "take manifest"]','["@COMMIT@"]','',NULL,'','');
COMMIT;

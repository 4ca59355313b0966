"""The processes of a project that init finds."""

from __future__ import annotations

import pytest

from testgrove.core.discovery.applications import find_applications
from testgrove.core.discovery.python_sources import parse_modules

FASTAPI = "from fastapi import FastAPI\napp = FastAPI()\n"
FACTORY = "def create_app(debug=False):\n    app = FastAPI()\n    return app\n"
CELERY = "from celery import Celery\napp: Celery = Celery(__name__)\n"


def found(texts, *others):
    applications = find_applications({*texts, *others}, texts, parse_modules(texts))
    return {each.name: (each.command, each.ready) for each in applications}


@pytest.mark.parametrize(
    ("texts", "command", "ready"),
    [
        ({"main.py": FASTAPI}, "uvicorn main:app --host 127.0.0.1 --port ${API_PORT}", "tcp://127.0.0.1:${API_PORT}"),
        ({"app/main.py": FASTAPI + '@app.get("/healthz")\ndef h(): ...\n'},
         "uvicorn app.main:app --host 127.0.0.1 --port ${API_PORT}", "http://127.0.0.1:${API_PORT}/healthz"),
        ({"src/shop/api.py": FACTORY}, "uvicorn --factory shop.api:create_app --host 127.0.0.1 --port ${API_PORT}",
         "tcp://127.0.0.1:${API_PORT}"),
        ({"shop/__init__.py": "import flask\napp = flask.Flask(__name__)\n"},
         "flask --app shop:app run --host 127.0.0.1 --port ${APP_PORT}", "tcp://127.0.0.1:${APP_PORT}"),
        ({"manage.py": "import django\n"}, "python manage.py runserver --noreload 127.0.0.1:${APP_PORT}",
         "tcp://127.0.0.1:${APP_PORT}"),
    ],
)  # fmt: skip
def test_a_web_application(texts, command, ready):
    assert list(found(texts, "src/shop/__init__.py").values()) == [(command, ready)]


def test_a_worker():
    worker = ("celery --app shop.tasks.celery:app worker --loglevel=INFO", r"log:ready\\.")
    assert found({"shop/tasks/celery.py": CELERY}, "shop/tasks/__init__.py") == {"worker": worker}


@pytest.mark.parametrize(
    "texts",
    [
        {"tests/test_api.py": FASTAPI},
        {"docs/example.py": FASTAPI},
        {"conftest.py": FASTAPI},
        {"backend/app/main.py": FASTAPI},  # no package from here
        {"shop/api.py": FACTORY.replace("debug=False", "settings")},
        {"shop/api.py": "from fastapi import FastAPI\nclass A:\n    app = FastAPI()\n"},
        {"manage.py": "print()\n"},
    ],
)
def test_what_cannot_be_started_from_here_is_no_process(texts):
    assert found(texts) == {}


def test_a_variable_comes_before_a_factory_and_the_top_before_what_is_below():
    texts = {"shop/api.py": FASTAPI, "shop/deep/other.py": FASTAPI, "a.py": FACTORY}
    assert found(texts, "shop/deep/__init__.py")["api"][0].startswith("uvicorn shop.api:app ")

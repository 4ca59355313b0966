"""Modules of the project itself that its tests cannot import."""

from __future__ import annotations

import pytest

from testgrove.core.runs.own_modules import folder_with


@pytest.mark.parametrize(
    ("files", "folder"),
    [
        (["src/shop/__init__.py"], "src"),
        (["shop.py", "src/shop/__init__.py"], "src"),
        (["shop.py"], "."),
        (["backend/shop/__init__.py", "backend/shop/cart.py"], "backend"),
        (["workshop.py", "src/workshop/__init__.py"], ""),
        (["src/web/__init__.py", "src/web/shop.py"], ""),
        ([], ""),
    ],
)
def test_the_folder_that_must_be_on_the_import_path(files, folder):
    assert folder_with("shop", files) == folder

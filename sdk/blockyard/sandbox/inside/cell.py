"""Runs Python code as a cell of a notebook: the value of a last expression is its result."""

import ast
import base64
import json
import linecache
import sys
import traceback
import types
from collections.abc import Callable
from typing import Any

CODE = "/blockyard/code.py"
VARIABLES = "/blockyard/variables.json"
RESULT = "/result/result.json"
# Forms that a value may show itself in, and the methods that notebooks ask for them.
FORMS = {
    "html": "_repr_html_",
    "markdown": "_repr_markdown_",
    "svg": "_repr_svg_",
    "png": "_repr_png_",
    "jpeg": "_repr_jpeg_",
    "pdf": "_repr_pdf_",
    "latex": "_repr_latex_",
    "json": "_repr_json_",
    "javascript": "_repr_javascript_",
}


def main() -> None:
    """Runs the code in the module `__main__`; an exception of it is shown without the frames of this file."""
    with open(CODE, encoding="utf-8") as file:
        source = file.read()
    with open(VARIABLES, encoding="utf-8") as file:
        variables = json.load(file)
    sys.path.insert(0, "/work")
    sys.argv = ["main.py"]
    linecache.cache["main.py"] = (len(source), None, source.splitlines(keepends=True), "main.py")
    module = types.ModuleType("__main__")
    module.__dict__.update(variables)
    sys.modules["__main__"] = module
    try:
        value = _run(source, module.__dict__)
        forms = None if value is None else _forms(value)
    except Exception as error:  # noqa: BLE001 - the code's own, whatever it is
        _show(error)
        sys.exit(1)
    if forms is not None:
        _write(forms)


def _run(source: str, space: dict[str, Any]) -> Any:
    tree = ast.parse(source, "main.py")
    last = tree.body[-1] if tree.body else None
    if not isinstance(last, ast.Expr):
        exec(compile(tree, "main.py", "exec"), space)
        return None
    tree.body.pop()
    exec(compile(tree, "main.py", "exec"), space)
    return eval(compile(ast.Expression(last.value), "main.py", "eval"), space)


def _show(error: Exception) -> None:
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename != "main.py":
        frames = frames.tb_next
    traceback.print_exception(type(error), error, frames)


def _forms(value: Any) -> dict[str, Any]:
    forms: dict[str, Any] = {"text": repr(value)}
    for form, name in FORMS.items():
        method: Callable[[], Any] | None = getattr(type(value), name, None) and getattr(value, name)
        shown = method() if callable(method) else None
        if isinstance(shown, tuple):
            # Content and metadata.
            shown = shown[0]
        if isinstance(shown, bytes):
            shown = base64.b64encode(shown).decode()
        if shown is not None:
            forms[form] = shown
    return forms


def _write(forms: dict[str, Any]) -> None:
    with open(RESULT, "w", encoding="utf-8") as file:
        json.dump(forms, file, default=str)


if __name__ == "__main__":
    main()

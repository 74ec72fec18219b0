"""LaTeX tables of reports, compiled in a two-column article."""

import re
import shutil
import subprocess

import pytest

TEX = r"""\documentclass[twocolumn]{article}
\usepackage[T1]{fontenc}\usepackage[utf8]{inputenc}\usepackage{booktabs,graphicx}\extrafloats{200}
\begin{document}%s\end{document}
"""
needs_pdflatex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex")


def check_compiles(files, folder):
    """No error, and nothing wider than its column by more than 5 pt."""
    (folder / "all.tex").write_text(TEX % "".join(rf"\typeout{{{f}}}\input{{{f}}}\clearpage " for f in files))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=300)
    assert done.returncode == 0, done.stdout[-1500:]
    wide = [float(points) for points in re.findall(r"Overfull \\hbox \(([\d.]+)pt", done.stdout)]
    assert max(wide, default=0) <= 5
    assert "Float too large" not in done.stdout

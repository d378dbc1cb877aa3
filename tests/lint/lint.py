"""What the checks share: the project's files, C without comments and strings, and the report."""

import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SKIPPED_DIRECTORIES = {"build", ".git", ".cache", "corpus"}


def files(*suffixes, under=("",)):
    """Paths from the root of the files with one of the suffixes ("" for any), sorted."""
    found = []
    for top in under:
        for directory, names, entries in os.walk(os.path.join(ROOT, top)):
            names[:] = [name for name in names if name not in SKIPPED_DIRECTORIES]
            for entry in entries:
                path = os.path.relpath(os.path.join(directory, entry), ROOT)
                if entry.endswith(suffixes) and not os.path.islink(os.path.join(ROOT, path)):
                    found.append(path)
    return sorted(found)


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8", errors="replace") as file:
        return file.read()


TOKEN = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)


def code(path):
    """The text of a C file with comments and literals blanked, line numbers kept."""

    def blank(match):
        text = match.group(0)
        return re.sub(r"[^\n]", " ", text) if text[0] == "/" else text[0] + text[0]

    return TOKEN.sub(blank, read(path))


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def run(*command):
    """Standard output of a command that has to succeed."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command[:3])} ...: {done.stderr.strip()[:2000]}")
    return done.stdout


def objects(build, *areas):
    """(object file, source path) of our objects in a build tree whose source is in an area."""
    found = []
    for directory, _, entries in os.walk(os.path.join(build, "CMakeFiles")):
        for entry in entries:
            path = os.path.join(directory, entry)
            match = re.search(r"\.dir/(.*\.c)\.o$", path)
            if match and match.group(1).startswith(areas) and os.path.exists(
                    os.path.join(ROOT, match.group(1))):
                found.append((path, match.group(1)))
    return sorted(found)


def finish(problems):
    """Prints the problems, `file:line: what`, and exits."""
    for problem in problems:
        print(problem)
    sys.exit(1 if problems else 0)

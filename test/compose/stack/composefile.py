"""Reads docker-compose.yml for the variant without Docker."""
import os
import re
import sys

VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+)(?::([-?])([^}]*))?\})")


def interpolate(text, env):
    """Replaces ${NAME}, ${NAME:-default}, ${NAME:?complaint} and $$, like Compose."""
    def value(m):
        dollar, name, kind, rest = m.groups()
        if dollar:
            return "$"
        if env.get(name) or kind is None:
            return env.get(name, "")
        if kind == "-":
            return rest
        raise SystemExit("docker-compose.yml: %s is not set: %s" % (name, rest))
    return VARIABLE.sub(value, text)


def strings(v, env):
    if isinstance(v, dict):
        return {k: strings(x, env) for k, x in v.items()}
    if isinstance(v, list):
        return [strings(x, env) for x in v]
    return interpolate(v, env) if isinstance(v, str) else v


def load(path, env):
    """The services: {name: description}, with variables from env."""
    try:
        import yaml
    except ImportError:                 # python3 may not be Debian's, whose python3-yaml works too
        sys.path.append("/usr/lib/python3/dist-packages")
        import yaml
    with open(path) as h:
        return strings(yaml.safe_load(h)["services"], env)


def read_env(path):
    """Reads a .env file: NAME=value lines."""
    out = {}
    with open(path) as h:
        for line in h:
            name, eq, value = line.strip().partition("=")
            if eq and not name.startswith("#"):
                out[name] = value
    return out


def project():
    """The project's directory."""
    return os.path.abspath(os.path.join(os.path.dirname(__file__), "../../.."))

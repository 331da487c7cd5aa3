"""seccomp.py PROFILE COMMAND...: loads a seccomp profile in Docker's format, as Docker does, and becomes the command.

PROFILE is the file, or its text. The library is libseccomp, as in runc. Without "archMap", a profile allows only
system calls of the machine's own architecture.
"""
import ctypes
import json
import os
import sys

ALLOW, ERRNO = 0x7fff0000, 0x00050000
OPERATORS = {"SCMP_CMP_NE": 1, "SCMP_CMP_LT": 2, "SCMP_CMP_LE": 3, "SCMP_CMP_EQ": 4, "SCMP_CMP_GE": 5, "SCMP_CMP_GT": 6, "SCMP_CMP_MASKED_EQ": 7}


class Comparison(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def library():
    lib = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    lib.seccomp_init.restype, lib.seccomp_init.argtypes = ctypes.c_void_p, [ctypes.c_uint32]
    lib.seccomp_rule_add_array.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(Comparison)]
    lib.seccomp_load.argtypes = [ctypes.c_void_p]
    lib.seccomp_syscall_resolve_name.argtypes = [ctypes.c_char_p]
    return lib


def action(rule, name, errno):
    return {"SCMP_ACT_ALLOW": ALLOW, "SCMP_ACT_ERRNO": ERRNO | rule.get(errno, 1)}[rule[name]]


def load(profile):
    lib = library()
    ctx = lib.seccomp_init(action(profile, "defaultAction", "defaultErrnoRet"))
    for rule in profile["syscalls"]:
        args = [Comparison(a["index"], OPERATORS[a["op"]], a["value"], a.get("valueTwo", 0)) for a in rule.get("args", [])]
        for name in rule["names"]:
            number = lib.seccomp_syscall_resolve_name(name.encode())
            if number == -1:
                continue        # unknown to this library, as in runc
            r = lib.seccomp_rule_add_array(ctx, action(rule, "action", "errnoRet"), number, len(args), (Comparison * len(args))(*args))
            if r:
                raise OSError(-r, "seccomp: " + name)
    r = lib.seccomp_load(ctx)
    if r:
        raise OSError(-r, "seccomp_load")


def main():
    text = sys.argv[1]
    if not text.startswith("{"):
        with open(text) as h:
            text = h.read()
    load(json.loads(text))
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()

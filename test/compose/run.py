#!/usr/bin/env python3
"""run.py [--by docker|processes|auto] [STEP ...]: starts the services of docker-compose.yml,
runs the steps (sandbox, demo, kills, hosts; default: all), and stops the services.

Exits with 1 at the first difference. A project that is already running here is not
touched, because names, ports and volumes are different. auto: Docker if a daemon answers.
"""
import argparse
import os
import sys
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from stack import composefile, docker                   # noqa: E402
from stack.processes import Processes                   # noqa: E402
from stack.trial import Difference, Trial               # noqa: E402
from steps import demo, hosts, kills, sandbox           # noqa: E402

STEPS = {"sandbox": sandbox, "demo": demo, "kills": kills, "hosts": hosts}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("step", nargs="*", metavar="STEP", help="; ".join("%s: %s" % (n, m.__doc__) for n, m in STEPS.items()))
    p.add_argument("--by", choices=("docker", "processes", "auto"), default="auto")
    opt = p.parse_args()
    by_docker = opt.by == "docker" or opt.by == "auto" and docker.answers()
    if opt.by == "docker" and not docker.answers():
        p.exit(1, "no Docker daemon answers: start it, or run make test-compose\n")
    env = composefile.read_env(os.path.join(composefile.project(), ".env"))
    start = time.time()
    stack = docker.Docker({}) if by_docker else Processes({})
    t = Trial(stack, env)
    try:
        t.log("The services of docker-compose.yml, " + stack.about)
        stack.build(t.log)
        t.log("starting the bucket, the backup host and the mail host")
        stack.up("minio", "backuphost", "mailhost")
        for step in opt.step or STEPS:
            STEPS[step].run(t)
        for line in stack.sizes():
            t.log("size of " + line)
    except (Exception, SystemExit, KeyboardInterrupt) as e:
        if not isinstance(e, (Difference, SystemExit, KeyboardInterrupt)):
            traceback.print_exc()
        print("---- FAILED after %d s: %s" % (time.time() - start, e))
        for name in ("minio", "backuphost", "mailhost"):
            print("---- the last lines of %s:\n%s" % (name, stack.log(name, 25)))
        return 1
    finally:
        stack.down()
    t.log("All checks passed; the services are stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())

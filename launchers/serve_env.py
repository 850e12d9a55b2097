"""Serves an environment to other programs, over HTTP or WebSocket.

    python launchers/serve_env.py --env=alfworld --dialect=agentgym --port=3000

The same as ``skillrl serve``; ``--help`` lists the flags.
"""

from skillrl.cli.main import launch

if __name__ == "__main__":
    launch("serve")

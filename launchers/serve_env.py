"""Serves an environment to other programs, over HTTP or WebSocket.

    python launchers/serve_env.py --env=alfworld --dialect=agentgym --port=3000

The same as ``skillrl serve``; ``--help`` lists the flags.
"""

from skillrl import cli

if __name__ == "__main__":
    cli.launch("serve")

"""The MCP server, put together from its parts."""

from mcp.server.auth.provider import TokenVerifier
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer

from nnunet_mcp import __version__

from ..calls import call
from ..settings import Settings
from ..texts import for_agents
from .catalogue import build_tools, visible_errors
from .dashboard import dashboard_page
from .protocol.prompts import add_prompts
from .protocol.resource_updates import ResourceUpdates
from .protocol.resources import add_resources
from .protocol.run_tasks import RunTasks
from .protocol.tasks import TasksExtension, for_listeners

INSTRUCTIONS = for_agents(f"""\
Trains nnU-Net v2 medical image segmentation models, in the background: runs take minutes to days and go on when this
chat or server ends; {call("nnunet_runs")} finds them again.
{call("nnunet_datasets")} or {call("nnunet_prepare_dataset")}, then {call("nnunet_training")}, \
{call("nnunet_progress")}, {call("nnunet_results")}.
pseudo_dice is an estimate on patches during training; never report it as the Dice.
Every answer has next_step. What starts or spends something in it is a question: ask the person first.
""")


def create_server(
    settings: Settings,
    *,
    read_only: bool = False,
    token_verifier: TokenVerifier | None = None,
    auth: AuthSettings | None = None,
) -> MCPServer:
    """The server with all tools, or only with those that read; with a token verifier for HTTP."""
    tasks = TasksExtension(RunTasks(settings))
    updates = ResourceUpdates(settings)
    app = MCPServer(
        "nnunet-mcp",
        title="nnU-Net training",
        version=__version__,
        instructions=INSTRUCTIONS,
        tools=build_tools(settings, read_only=read_only),
        extensions=[dashboard_page()] if read_only else [dashboard_page(), tasks],
        middleware=[
            visible_errors,
            *map(for_listeners, [updates.listen] if read_only else [tasks.listen, updates.listen]),
        ],
        subscriptions=updates.bus,
        token_verifier=token_verifier,
        auth=auth,
    )
    add_resources(app, settings)
    add_prompts(app, settings)
    return app

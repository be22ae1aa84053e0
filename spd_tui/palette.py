"""The command palette, where page keys do nothing while there is nothing to turn over."""

from textual.command import CommandList, CommandPalette


class SpdCommandPalette(CommandPalette):
    """Textual's, which fails when a page key comes before its list has been laid out."""

    def _action_command_list(self, action: str) -> None:
        commands = self.query_one(CommandList)
        if commands.option_count and commands.size.height:
            super()._action_command_list(action)

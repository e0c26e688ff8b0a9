"""Tools that a judge may call: one plugin a file, each a function with a JSON schema of its arguments.

=============  ==============================================================================
calculator     value of an expression, check of equations and of the final answer
calendar       day of the week, days between dates, date so many days later
code           a program, or a program against tests, in a limited process (``code=SECONDS``)
search         BM25 over a corpus of yours (``search=FILE``)
dictionary     the entry of a word (``dictionary=FILE``)
wiki           the article of a title, or the part about something (``wiki=FILE``)
weather        what a table says of a place and a date (``weather=FILE``)
translator     what a table says a phrase means (``translator=FILE``)
map            what a table says of a place (``map=FILE``)
table          any other table (``table=FILE``)
=============  ==============================================================================

:mod:`.tool` says how to add one.
"""

from guerdon.reward.judge.tools.registry import TOOLS, files_of, open_tools
from guerdon.reward.judge.tools.tool import Observation, Seen, Tool, tool

__all__ = ["TOOLS", "Observation", "Seen", "Tool", "files_of", "open_tools", "tool"]

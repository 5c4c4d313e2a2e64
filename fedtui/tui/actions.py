"""What an operator can do in the dashboard: one list behind keys, key row, palette and help."""

from collections.abc import Iterable
from dataclasses import dataclass

OVERVIEW, CONNECT, JOIN, AGREEMENT = "overview", "connect", "join", "agreement"
ROUNDS, VALIDATE, LOGS, EXPORT = "rounds", "validate", "logs", "export"
SCREENS = (OVERVIEW, CONNECT, JOIN, AGREEMENT, ROUNDS, VALIDATE, LOGS, EXPORT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One action.

    Attributes:
        name: ``action_<name>`` of the app carries it out; the palette finds it by this.
        keys: Textual's names of the keys, any of which starts it.
        shown: The key as the key row writes it.
        label: In one or two words; '' keeps it out of the key row.
        help: In one sentence; '' where another action's help tells of this one too.
        on: The screens where it is valid; empty means all.
        always: Never left out of the key row.
        screen: The screen it opens.
        short: The label where columns are few.
        home: Whether it needs a home; a replayed log has none.
        orders: Whether it changes something; ``--readonly`` has no such action.
        when: What must be so for the key row to name it, see ``View.conditions``; pressed at
            another time it says why it does nothing.
    """

    name: str
    keys: tuple[str, ...]
    shown: str
    label: str
    help: str
    on: tuple[str, ...] = ()
    always: bool = False
    screen: str = ""
    short: str = ""
    home: bool = False
    orders: bool = False
    when: tuple[str, ...] = ()


ACTIONS: tuple[Action, ...] = (
    Action(
        name="overview",
        keys=("1",),
        shown="1",
        label="Overview",
        help="Where this site stands and what to do next.",
        short="Over",
        screen=OVERVIEW,
        always=True,
    ),
    Action(
        name="connect",
        keys=("2",),
        shown="2",
        label="Connect",
        help="What is wrong with the link or this host, and what to ask for.",
        short="Conn",
        screen=CONNECT,
        always=True,
    ),
    Action(
        name="joining",
        keys=("3",),
        shown="3",
        label="Join",
        help="Join a federation by a code; at the coordinator: invite, confirm, revoke.",
        short="Join",
        screen=JOIN,
        always=True,
    ),
    Action(
        name="agreement",
        keys=("4",),
        shown="4",
        label="Agreement",
        help="The studies: read, propose, sign, decline, withdraw.",
        short="Agree",
        screen=AGREEMENT,
        always=True,
    ),
    Action(
        name="rounds",
        keys=("5",),
        shown="5",
        label="Rounds",
        short="Rounds",
        help="The run, round by round: sites, charts, what has left this site.",
        screen=ROUNDS,
        always=True,
    ),
    Action(
        name="validation",
        keys=("6",),
        shown="6",
        label="Validate",
        help="What the joint model is worth, to each hospital on its own patients first.",
        short="Val",
        screen=VALIDATE,
        always=True,
    ),
    Action(
        name="logs",
        keys=("7",),
        shown="7",
        label="Logs",
        short="Log",
        help="Every event as a sentence.",
        screen=LOGS,
        always=True,
    ),
    Action(
        name="exports",
        keys=("8",),
        shown="8",
        label="Export",
        help="Every run of this journal, and what can be written of it for others.",
        short="Exp",
        screen=EXPORT,
        always=True,
    ),
    Action(
        name="create_site",
        keys=("n",),
        shown="n",
        label="new site",
        help="Make this host a site, or the coordinator of a federation: fedtui init.",
        on=(OVERVIEW,),
        home=True,
        orders=True,
        when=("unmade",),
    ),
    Action(
        name="start_processes",
        keys=("u",),
        shown="u",
        label="up",
        help="Start this home's processes; they stay when you leave: fedtui up.",
        on=(OVERVIEW,),
        home=True,
        orders=True,
        when=("down",),
    ),
    Action(
        name="stop_processes",
        keys=("X",),
        shown="X",
        label="down",
        help="Stop this home's processes, after a typed word: fedtui down.",
        on=(OVERVIEW,),
        home=True,
        orders=True,
        when=("up",),
    ),
    Action(
        name="join_federation",
        keys=("c",),
        shown="c",
        label="code",
        help="Use an invitation's code or file: fedtui join.",
        on=(JOIN,),
        home=True,
        orders=True,
        when=("unjoined",),
    ),
    Action(
        name="invite_site",
        keys=("i",),
        shown="i",
        label="invite",
        help="Make a code for another site, good once and for 72 hours: fedtui invite.",
        on=(JOIN,),
        home=True,
        orders=True,
        when=("coordinates",),
    ),
    Action(
        name="confirm_site",
        keys=("C",),
        shown="C",
        label="enrol",
        help="Enrol the chosen site, after its six words are typed: fedtui sites --confirm.",
        on=(JOIN,),
        home=True,
        orders=True,
        when=("coordinates",),
    ),
    Action(
        name="decline_site",
        keys=("d",),
        shown="d",
        label="decline",
        help="Refuse a pending site, or take an invitation back.",
        on=(JOIN,),
        home=True,
        orders=True,
        when=("coordinates",),
    ),
    Action(
        name="suspend_site",
        keys=("S",),
        shown="S",
        label="suspend",
        help="Refuse the chosen site for a time, or take it back, after a typed word.",
        on=(JOIN,),
        home=True,
        orders=True,
        when=("coordinates",),
    ),
    Action(
        name="revoke_site",
        keys=("X",),
        shown="X",
        label="revoke",
        help="Take the chosen site off the roster for good, after a typed word.",
        on=(JOIN,),
        home=True,
        orders=True,
        when=("coordinates",),
    ),
    Action(
        name="sign_study",
        keys=("S",),
        shown="S",
        label="sign",
        help="Approve the chosen study under a person's own key, once it is read to its end.",
        on=(AGREEMENT,),
        home=True,
        orders=True,
        when=("studies",),
    ),
    Action(
        name="decline_study",
        keys=("X",),
        shown="X",
        label="decline",
        help="Refuse the chosen study for a reason that all sites read.",
        on=(AGREEMENT,),
        home=True,
        orders=True,
        when=("studies",),
    ),
    Action(
        name="withdraw_study",
        keys=("W",),
        shown="W",
        label="withdraw",
        help="Take this site's approval back; it refuses the run's next message.",
        on=(AGREEMENT,),
        home=True,
        orders=True,
        when=("studies",),
    ),
    Action(
        name="run_study",
        keys=("R",),
        shown="R",
        label="run it",
        help="Start a run of the chosen study, at the coordinator: fedtui run.",
        on=(AGREEMENT,),
        home=True,
        orders=True,
        when=("studies", "coordinates"),
    ),
    Action(
        name="propose_study",
        keys=("n",),
        shown="n",
        label="propose",
        help="Put a study to all its sites: fedtui study propose.",
        on=(AGREEMENT,),
        home=True,
        orders=True,
    ),
    Action(
        name="validate_run",
        keys=("v",),
        shown="v",
        label="validate",
        help="Have every site judge the last completed run's models: fedtui validate.",
        on=(VALIDATE,),
        home=True,
        orders=True,
        when=("coordinates", "idle"),
    ),
    Action(
        name="start_run",
        keys=("n",),
        shown="n",
        label="new run",
        help="Start a run of a study, at the coordinator: fedtui run STUDY.",
        on=(ROUNDS,),
        home=True,
        orders=True,
        when=("coordinates", "idle"),
    ),
    Action(
        name="pause_run",
        keys=("z",),
        shown="z",
        label="pause",
        help="Hold the run between two exchanges, or let it go on: fedtui pause, resume.",
        on=(ROUNDS,),
        home=True,
        orders=True,
        when=("coordinates", "running"),
    ),
    Action(
        name="stop_run",
        keys=("X",),
        shown="X",
        label="stop",
        help="End the run before its time, after a typed word: fedtui stop.",
        on=(ROUNDS,),
        home=True,
        orders=True,
        when=("coordinates", "running"),
    ),
    Action(
        name="export_run",
        keys=("e", "enter"),
        shown="e",
        label="export",
        help="Write the chosen run to a folder, with checksums: fedtui export.",
        on=(EXPORT,),
        home=True,
        orders=True,
    ),
    Action(
        name="verify_export",
        keys=("v",),
        shown="v",
        label="verify",
        help="Check an export, one's own or another site's: fedtui verify.",
        on=(EXPORT,),
        home=True,
    ),
    Action(
        name="check",
        keys=("r",),
        shown="r",
        label="check",
        help="Check this host and its link; harmless to a run under way.",
        on=(CONNECT,),
        home=True,
    ),
    Action(
        name="check_deep",
        keys=("D",),
        shown="D",
        label="deep",
        help="Deep checks too: about a minute; the line full for 3 s each way.",
        on=(CONNECT,),
        home=True,
    ),
    Action(
        name="copy_ticket",
        keys=("y",),
        shown="y",
        label="ticket",
        help="Copy the chosen finding's ticket: clipboard (OSC 52), and a file.",
        on=(CONNECT,),
        home=True,
    ),
    Action(
        name="write_tickets",
        keys=("w",),
        shown="w",
        label="tickets",
        help="Write the tickets of all network findings that are not well.",
        on=(CONNECT,),
        home=True,
    ),
    Action(
        name="chart",
        keys=("m",),
        shown="m",
        label="chart",
        help="Next chart: metric, loss, seconds; calibration and others of models.",
        on=(ROUNDS, VALIDATE),
    ),
    Action(
        name="log_scale",
        keys=("l",),
        shown="l",
        label="log",
        help="Charts on a logarithmic scale, or on an even one.",
        on=(ROUNDS,),
    ),
    Action(
        name="zoom",
        keys=("enter",),
        shown="Enter",
        label="zoom",
        help="Charts of the chosen site and the joint model, or of all.",
        on=(ROUNDS,),
    ),
    Action(
        name="filter",
        keys=("slash",),
        shown="/",
        label="filter",
        help="Only lines with these words (Rounds: find a site); Esc clears.",
        on=(CONNECT, JOIN, AGREEMENT, ROUNDS, LOGS, EXPORT),
    ),
    Action(
        name="level",
        keys=("l",),
        shown="l",
        label="level",
        help="News, everything (training steps too), warnings, errors.",
        on=(LOGS,),
    ),
    Action(
        name="follow",
        keys=("f",),
        shown="f",
        label="follow",
        help="Stay at the newest line, or stay where you are.",
        on=(LOGS,),
    ),
    Action(
        name="hold",
        keys=("p",),
        shown="p",
        label="hold",
        help="Hold the display still; training goes on. Again to catch up.",
    ),
    Action(
        name="copy",
        keys=("y",),
        shown="y",
        label="copy",
        help="Copy this screen's text: to the clipboard (OSC 52), and to a file.",
    ),
    Action(
        name="write",
        keys=("w",),
        shown="w",
        label="write",
        help="Write a picture (SVG) of this screen to a file.",
    ),
    Action(
        name="palette",
        keys=("colon", "ctrl+p"),
        shown=":",
        label="more",
        always=True,
        help="Find an action by its name.",
    ),
    Action(
        name="guide",
        keys=("question_mark",),
        shown="?",
        label="help",
        always=True,
        help="The keys, and this screen.",
    ),
    Action(
        name="leave",
        keys=("q", "ctrl+q"),
        shown="q",
        label="quit",
        always=True,
        help="Close the viewer; nothing else ends.",
    ),
    Action(
        name="ascii",
        keys=("A",),
        shown="A",
        label="ASCII",
        help="Draw with ASCII characters only, or with lines and blocks.",
    ),
    Action(
        name="braille",
        keys=("b",),
        shown="b",
        label="braille",
        help="Charts of braille dots, finer if the font has them, or blocks.",
        on=(ROUNDS,),
    ),
    Action(
        name="up",
        keys=("up", "k"),
        shown="Up Dn",
        label="",
        help="Another site, finding or line; k and j do the same.",
        on=(CONNECT, JOIN, AGREEMENT, ROUNDS, VALIDATE, LOGS, EXPORT),
    ),
    Action(
        name="down",
        keys=("down", "j"),
        shown="Down j",
        label="",
        help="",
        on=(CONNECT, JOIN, AGREEMENT, ROUNDS, VALIDATE, LOGS, EXPORT),
    ),
    Action(
        name="page_up",
        keys=("pageup", "h", "left"),
        shown="PgUp",
        label="",
        help="A page up; PgDn a page down. So do the arrows to the sides.",
        on=(CONNECT, JOIN, AGREEMENT, ROUNDS, VALIDATE, LOGS, EXPORT),
    ),
    Action(
        name="page_down",
        keys=("pagedown", "right"),
        shown="PgDn",
        label="",
        help="",
        on=(CONNECT, JOIN, AGREEMENT, ROUNDS, VALIDATE, LOGS, EXPORT),
    ),
    Action(
        name="top",
        keys=("home", "g"),
        shown="Home",
        label="",
        help="The oldest line; End goes to the newest.",
        on=(LOGS,),
    ),
    Action(
        name="bottom",
        keys=("end", "G"),
        shown="End G",
        label="",
        help="",
        on=(LOGS,),
    ),
    Action(
        name="repaint",
        keys=("ctrl+l",),
        shown="Ctrl-L",
        label="",
        help="Draw the whole screen again.",
    ),
)


def valid(screen: str, *, home: bool = True, orders: bool = True) -> tuple[Action, ...]:
    """The actions of one screen; one that is only there takes its keys from one of all screens."""
    here = [
        a
        for a in ACTIONS
        if (not a.on or screen in a.on) and (home or not a.home) and (orders or not a.orders)
    ]
    taken = {key for a in here if a.on for key in a.keys}
    return tuple(a for a in here if a.on or not taken.intersection(a.keys))


def found(words: str, among: Iterable[Action]) -> tuple[Action, ...]:
    """Of valid actions those whose name, label or help holds every word."""
    wanted = words.lower().split()
    return tuple(
        a
        for a in among
        if a.help
        and a.name != "palette"
        and all(w in f"{a.name} {a.label} {a.help}".lower() for w in wanted)
    )

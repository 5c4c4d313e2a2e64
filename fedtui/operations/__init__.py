"""What both people-facing doors do: commands and dashboard call these, and nothing else.

Each is imported when it is first used, so that `status` does not pay for what `init` needs.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedtui.operations._accesses import accesses as accesses
    from fedtui.operations._accesses import prune_accesses as prune_accesses
    from fedtui.operations._audit import audit_leakage as audit_leakage
    from fedtui.operations._audit import leakage as leakage
    from fedtui.operations._audit import leakage_refusal as leakage_refusal
    from fedtui.operations._audit import sign_override as sign_override
    from fedtui.operations._audit import verdict_allows_release as verdict_allows_release
    from fedtui.operations._backup import backup as backup
    from fedtui.operations._backup import backup_target as backup_target
    from fedtui.operations._bundle import bundle as bundle
    from fedtui.operations._bundle import bundle_target as bundle_target
    from fedtui.operations._deciding import account as account
    from fedtui.operations._deciding import approve_study as approve_study
    from fedtui.operations._deciding import approver_of as approver_of
    from fedtui.operations._deciding import create_person as create_person
    from fedtui.operations._deciding import decline_study as decline_study
    from fedtui.operations._deciding import has_person as has_person
    from fedtui.operations._deciding import propose_study as propose_study
    from fedtui.operations._deciding import send_decisions as send_decisions
    from fedtui.operations._deciding import withdraw_study as withdraw_study
    from fedtui.operations._examining import examine_data as examine_data
    from fedtui.operations._examining import measure_study as measure_study
    from fedtui.operations._homes import create as create
    from fedtui.operations._joining import await_confirmation as await_confirmation
    from fedtui.operations._joining import claim as claim
    from fedtui.operations._joining import join as join
    from fedtui.operations._joining import join_flower as join_flower
    from fedtui.operations._joining import needs_key as needs_key
    from fedtui.operations._leaving import leave as leave
    from fedtui.operations._leaving import leaving as leaving
    from fedtui.operations._models import export_model as export_model
    from fedtui.operations._models import import_model as import_model
    from fedtui.operations._models import release_refusal as release_refusal
    from fedtui.operations._orders import answering as answering
    from fedtui.operations._orders import down as down
    from fedtui.operations._orders import pause as pause
    from fedtui.operations._orders import rotate as rotate
    from fedtui.operations._orders import run as run
    from fedtui.operations._orders import serve as serve
    from fedtui.operations._orders import stop as stop
    from fedtui.operations._orders import up as up
    from fedtui.operations._records import export_run as export_run
    from fedtui.operations._records import health as health
    from fedtui.operations._records import known as known
    from fedtui.operations._records import openmetrics as openmetrics
    from fedtui.operations._records import runs as runs
    from fedtui.operations._records import status as status
    from fedtui.operations._records import verify_export as verify_export
    from fedtui.operations._reports import export_bundle as export_bundle
    from fedtui.operations._reports import facts as facts
    from fedtui.operations._reports import released as released
    from fedtui.operations._reports import report_document as report_document
    from fedtui.operations._reports import report_page as report_page
    from fedtui.operations._reports import report_text as report_text
    from fedtui.operations._reports import spent as spent
    from fedtui.operations._restore import accept_older as accept_older
    from fedtui.operations._restore import readdress as readdress
    from fedtui.operations._restore import restorable as restorable
    from fedtui.operations._restore import restore as restore
    from fedtui.operations._service import install_service as install_service
    from fedtui.operations._service import remove_service as remove_service
    from fedtui.operations._service import service_status as service_status
    from fedtui.operations._service import service_unit as service_unit
    from fedtui.operations._sites import confirm as confirm
    from fedtui.operations._sites import decline as decline
    from fedtui.operations._sites import invite as invite
    from fedtui.operations._sites import issue as issue
    from fedtui.operations._sites import revoke as revoke
    from fedtui.operations._sites import sites as sites
    from fedtui.operations._sites import suspend as suspend
    from fedtui.operations._studies import studies as studies
    from fedtui.operations._studies import study_changes as study_changes
    from fedtui.operations._studies import study_document as study_document
    from fedtui.operations._studies import study_named as study_named
    from fedtui.operations._studies import study_paper as study_paper
    from fedtui.operations._studies import study_text as study_text
    from fedtui.operations._training import train_alone as train_alone
    from fedtui.operations._validation import await_validation as await_validation
    from fedtui.operations._validation import compare as compare
    from fedtui.operations._validation import comparison_document as comparison_document
    from fedtui.operations._validation import validate as validate

_MODULES = (
    "_records",
    "_orders",
    "_homes",
    "_sites",
    "_joining",
    "_leaving",
    "_service",
    "_backup",
    "_restore",
    "_bundle",
    "_models",
    "_validation",
    "_reports",
    "_studies",
    "_deciding",
    "_examining",
    "_training",
    "_accesses",
    "_audit",
)  # the cheapest first


def __getattr__(name: str) -> Any:
    if not name.startswith("_"):
        for module in _MODULES:
            found = importlib.import_module(f"fedtui.operations.{module}")
            if getattr(vars(found).get(name), "__module__", "") == found.__name__:
                return vars(found)[name]
    raise AttributeError(f"fedtui.operations has no {name}")

"""Which permission each method needs, and which permissions each role has: the one place that says who may do what."""

from enum import Enum, auto

from services.common import identity
from services.common.errors import PermissionDenied
from services.common.identity import Caller, Role


class Permission(Enum):
    """What a method needs of its caller."""

    PUBLIC = auto()
    """No token at all."""
    SERVICE = auto()
    """The token of a service: users have no business here, whatever their role."""
    READ_GRAPHS = auto()
    WRITE_GRAPHS = auto()
    READ_BLOCKS = auto()
    READ_EXECUTIONS = auto()
    RUN_EXECUTIONS = auto()
    READ_CREDENTIALS = auto()
    WRITE_CREDENTIALS = auto()
    READ_ACCOUNT = auto()
    WRITE_ACCOUNT = auto()
    MANAGE_USERS = auto()
    MANAGE_CREDITS = auto()
    READ_AUDIT = auto()
    MANAGE_VAULT = auto()


_READ = frozenset(
    {
        Permission.READ_GRAPHS,
        Permission.READ_BLOCKS,
        Permission.READ_EXECUTIONS,
        Permission.READ_CREDENTIALS,
        Permission.READ_ACCOUNT,
    }
)
_WRITE = frozenset(
    {
        Permission.WRITE_GRAPHS,
        Permission.RUN_EXECUTIONS,
        Permission.WRITE_CREDENTIALS,
        Permission.WRITE_ACCOUNT,
    }
)
_MANAGE = frozenset(
    {Permission.MANAGE_USERS, Permission.MANAGE_CREDITS, Permission.READ_AUDIT, Permission.MANAGE_VAULT}
)

ROLES: dict[Role, frozenset[Permission]] = {
    Role.ADMIN: _READ | _WRITE | _MANAGE,
    Role.USER: _READ | _WRITE,
    Role.VIEWER: _READ,
    Role.SERVICE: frozenset({Permission.SERVICE}),
}

PERMISSIONS: dict[str, Permission] = {
    "/blockyard.graph.v1.GraphService/CreateGraph": Permission.WRITE_GRAPHS,
    "/blockyard.graph.v1.GraphService/GetGraph": Permission.READ_GRAPHS,
    "/blockyard.graph.v1.GraphService/ListGraphs": Permission.READ_GRAPHS,
    "/blockyard.graph.v1.GraphService/UpdateGraph": Permission.WRITE_GRAPHS,
    "/blockyard.graph.v1.GraphService/DeleteGraph": Permission.WRITE_GRAPHS,
    "/blockyard.graph.v1.GraphService/ListGraphVersions": Permission.READ_GRAPHS,
    "/blockyard.graph.v1.GraphService/SetActiveVersion": Permission.WRITE_GRAPHS,
    "/blockyard.graph.v1.GraphService/ForkGraph": Permission.WRITE_GRAPHS,
    "/blockyard.graph.v1.GraphService/ValidateGraph": Permission.READ_GRAPHS,
    "/blockyard.graph.v1.GraphService/RenderGraph": Permission.READ_GRAPHS,
    "/blockyard.graph.v1.GraphService/ImportGraph": Permission.WRITE_GRAPHS,
    "/blockyard.graph.v1.GraphService/ExportGraph": Permission.READ_GRAPHS,
    "/blockyard.graph.v1.BlockService/ListBlocks": Permission.READ_BLOCKS,
    "/blockyard.graph.v1.BlockService/GetBlock": Permission.READ_BLOCKS,
    "/blockyard.graph.v1.BlockService/ListBlockCategories": Permission.READ_BLOCKS,
    "/blockyard.graph.v1.BlockService/ListBlockVersions": Permission.READ_BLOCKS,
    "/blockyard.execution.v1.ExecutionService/StartExecution": Permission.RUN_EXECUTIONS,
    "/blockyard.execution.v1.ExecutionService/GetExecution": Permission.READ_EXECUTIONS,
    "/blockyard.execution.v1.ExecutionService/ListExecutions": Permission.READ_EXECUTIONS,
    "/blockyard.execution.v1.ExecutionService/StopExecution": Permission.RUN_EXECUTIONS,
    "/blockyard.execution.v1.ExecutionService/StopExecutions": Permission.RUN_EXECUTIONS,
    "/blockyard.execution.v1.ExecutionService/ListNodeExecutions": Permission.READ_EXECUTIONS,
    "/blockyard.execution.v1.ExecutionService/GetExecutionResults": Permission.READ_EXECUTIONS,
    "/blockyard.execution.v1.ExecutionService/ListEvents": Permission.READ_EXECUTIONS,
    "/blockyard.execution.v1.ExecutionService/WatchExecution": Permission.READ_EXECUTIONS,
    "/blockyard.execution.v1.ExecutionService/ExplainExecution": Permission.READ_EXECUTIONS,
    "/blockyard.execution.v1.ExecutionService/ResumeNode": Permission.RUN_EXECUTIONS,
    "/blockyard.execution.v1.ExecutionService/RunBlock": Permission.RUN_EXECUTIONS,
    "/blockyard.runner.v1.CatalogueService/RegisterBlocks": Permission.SERVICE,
    "/blockyard.runner.v1.CatalogueService/GetRunnableGraph": Permission.SERVICE,
    "/blockyard.runner.v1.CatalogueService/GetRunnableBlock": Permission.SERVICE,
    "/blockyard.runner.v1.ValueService/GetValue": Permission.SERVICE,
    "/blockyard.runner.v1.ValueService/PutValue": Permission.SERVICE,
    "/blockyard.credentials.v1.CredentialsService/CreateCredential": Permission.WRITE_CREDENTIALS,
    "/blockyard.credentials.v1.CredentialsService/GetCredential": Permission.READ_CREDENTIALS,
    "/blockyard.credentials.v1.CredentialsService/ListCredentials": Permission.READ_CREDENTIALS,
    "/blockyard.credentials.v1.CredentialsService/UpdateCredential": Permission.WRITE_CREDENTIALS,
    "/blockyard.credentials.v1.CredentialsService/DeleteCredential": Permission.WRITE_CREDENTIALS,
    "/blockyard.credentials.v1.CredentialsService/TestCredential": Permission.WRITE_CREDENTIALS,
    "/blockyard.credentials.v1.CredentialsService/ListProviders": Permission.READ_CREDENTIALS,
    "/blockyard.credentials.v1.CredentialsService/StartAuthorization": Permission.WRITE_CREDENTIALS,
    "/blockyard.credentials.v1.CredentialsService/CompleteAuthorization": Permission.WRITE_CREDENTIALS,
    "/blockyard.credentials.v1.CredentialsService/ListVaultKeys": Permission.MANAGE_VAULT,
    "/blockyard.credentials.v1.CredentialsService/RotateKeys": Permission.MANAGE_VAULT,
    "/blockyard.account.v1.AccountService/GetUser": Permission.READ_ACCOUNT,
    "/blockyard.account.v1.AccountService/UpdateUser": Permission.WRITE_ACCOUNT,
    "/blockyard.account.v1.AccountService/ListUsers": Permission.MANAGE_USERS,
    "/blockyard.account.v1.AccountService/CreateUser": Permission.MANAGE_USERS,
    "/blockyard.account.v1.AccountService/SetUserAccess": Permission.MANAGE_USERS,
    "/blockyard.account.v1.AccountService/CreateApiKey": Permission.WRITE_ACCOUNT,
    "/blockyard.account.v1.AccountService/ListApiKeys": Permission.READ_ACCOUNT,
    "/blockyard.account.v1.AccountService/RevokeApiKey": Permission.WRITE_ACCOUNT,
    "/blockyard.account.v1.AccountService/GetCredits": Permission.READ_ACCOUNT,
    "/blockyard.account.v1.AccountService/ListCreditTransactions": Permission.READ_ACCOUNT,
    "/blockyard.account.v1.AccountService/SummarizeSpending": Permission.READ_ACCOUNT,
    "/blockyard.account.v1.AccountService/TopUpCredits": Permission.MANAGE_CREDITS,
    "/blockyard.account.v1.AccountService/ListAuditEntries": Permission.READ_AUDIT,
    "/blockyard.account.v1.IdentityService/Identify": Permission.SERVICE,
    "/blockyard.account.v1.IdentityService/RecordActions": Permission.SERVICE,
    "/blockyard.account.v1.LedgerService/HoldCredits": Permission.SERVICE,
    "/blockyard.account.v1.LedgerService/SettleCharges": Permission.SERVICE,
    "/blockyard.runner.v1.LeaseService/LeaseCredentials": Permission.SERVICE,
    "/blockyard.runner.v1.LeaseService/MatchCredentials": Permission.SERVICE,
    "/blockyard.runner.v1.TaskService/CheckRuns": Permission.SERVICE,
    "/blockyard.runner.v1.TaskService/FindCredentialUses": Permission.SERVICE,
    "/blockyard.runner.v1.CatalogueService/FindCredentialUses": Permission.SERVICE,
    "/grpc.health.v1.Health/Check": Permission.PUBLIC,
    "/grpc.health.v1.Health/List": Permission.PUBLIC,
    "/grpc.health.v1.Health/Watch": Permission.PUBLIC,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Permission.PUBLIC,
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": Permission.PUBLIC,
}


def authorise(secret: str, method: str, authorization: str | None) -> Caller:
    """The caller that the token names, when it may call this method. A method that nobody listed is refused to all."""
    permission = PERMISSIONS.get(method)
    if permission is Permission.SERVICE:
        return identity.verify_service(secret, authorization)
    caller = identity.verify_user(secret, authorization)
    if permission is None or permission not in ROLES[caller.role]:
        raise PermissionDenied(f'The role "{caller.role}" may not call {method.rpartition("/")[2]}.')
    return caller


def is_public(method: str) -> bool:
    """Whether a method is open to callers without a token."""
    return PERMISSIONS.get(method) is Permission.PUBLIC

"""Starts the graph service: graphs, presets, the catalogue, and what runners and the execution service ask of both."""

from contextlib import AsyncExitStack

from blockyard.graph.v1.block_service_pb2_grpc import add_BlockServiceServicer_to_server
from blockyard.graph.v1.graph_service_pb2_grpc import add_GraphServiceServicer_to_server
from blockyard.graph.v1.preset_service_pb2_grpc import add_PresetServiceServicer_to_server
from blockyard.runner.v1.catalogue_service_pb2_grpc import add_CatalogueServiceServicer_to_server

from services.common import database, grpc_server, run
from services.graph.api.blocks import BlockApi
from services.graph.api.catalogue import CatalogueApi
from services.graph.api.graphs import GraphApi
from services.graph.api.presets import PresetApi
from services.graph.catalogue import Catalogue
from services.graph.config import GraphSettings
from services.graph.graphs import Graphs
from services.graph.importing.importer import Importer
from services.graph.presets import PresetLimits, Presets
from services.graph.registration import Registrar
from services.graph.repository.blocks import BlockRepository
from services.graph.repository.graphs import GraphRepository
from services.graph.repository.imports import ImportRepository
from services.graph.repository.presets import PresetRepository
from services.graph.validation import SizeLimits


async def start(settings: GraphSettings, resources: AsyncExitStack, process: run.Process) -> None:
    """Builds everything, top to bottom."""
    url = settings.database_url.get_secret_value()
    pool = await resources.enter_async_context(database.connect(url, "graph", pool_size=settings.database_pool_size))
    await database.wait_for_schema(pool, "graph")
    blocks = BlockRepository(pool)
    catalogue = Catalogue(blocks, settings.registration_interval)
    limits = SizeLimits(settings.graph_nodes, settings.graph_links, settings.graph_bytes, settings.constant_depth)
    graphs = Graphs(GraphRepository(pool), catalogue, limits)
    preset_limits = PresetLimits(settings.user_presets, settings.preset_bytes, settings.constant_depth)
    presets = Presets(PresetRepository(pool), graphs, preset_limits)
    importer = Importer(graphs, ImportRepository(pool))
    registrar = Registrar(blocks, catalogue)
    secret = settings.service_secret.get_secret_value()
    servicers: list[grpc_server.Registration] = [
        (add_GraphServiceServicer_to_server, GraphApi(graphs, importer, secret)),
        (add_BlockServiceServicer_to_server, BlockApi(catalogue, secret)),
        (add_PresetServiceServicer_to_server, PresetApi(presets, secret)),
        (
            add_CatalogueServiceServicer_to_server,
            CatalogueApi(graphs, presets, registrar, settings.registration_interval),
        ),
    ]
    checks = {"postgresql": lambda: database.is_healthy(pool)}
    process.hold("measured catalogue", catalogue.keep_measured())
    await resources.enter_async_context(grpc_server.serve(settings, servicers, checks))


if __name__ == "__main__":
    run.main(GraphSettings, start)

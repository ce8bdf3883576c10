"""What gateways ask for KServe's protocol: signatures, configurations and statistics of versions."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from corelane.processor.channel.methods import Method
from corelane.processor.control.inference_facts import Duration, VersionConfiguration, VersionStatistics
from corelane.processor.control.questions import (
    ConfigurationQuestion,
    EncodedSignatures,
    SignaturesQuestion,
    StatisticsList,
    StatisticsQuestion,
)
from corelane.processor.errors import FailedPrecondition, ModelNotFound
from corelane.processor.manifest import VersionPolicy
from corelane.processor.supervisor.children.worker import Worker
from corelane.processor.supervisor.views.counts import Counts
from corelane.processor.supervisor.views.meters import VersionKey, counts_now

if TYPE_CHECKING:
    from corelane.processor.supervisor.supervisor import Supervisor


async def signatures(supervisor: Supervisor, question: SignaturesQuestion) -> EncodedSignatures:
    """The signatures as a worker told them. A gateway asks here and not the worker, whose queue and counts are for
    clients."""
    worker = _worker(supervisor, question.instance)
    if not worker.signatures:
        raise FailedPrecondition("its signatures take too much room for REST and KServe's metadata; call it by gRPC")
    return EncodedSignatures(metadata=worker.signatures)


async def configuration(supervisor: Supervisor, question: ConfigurationQuestion) -> VersionConfiguration:
    worker = _worker(supervisor, question.instance)
    spec, settings = worker.instance.spec, supervisor.manifest.model(worker.instance.spec.model)
    policy = settings.versions if settings is not None else VersionPolicy()
    return VersionConfiguration(
        engine=worker.engine,
        sessions=len(worker.placed.sessions) if worker.placed else spec.sessions,
        batch_rows_max=0 if worker.engine == "onnxruntime" else spec.batch_rows_max,  # it runs each by itself
        batch_wait_us=spec.batch_wait_us,
        policy=policy.kind,
        latest=policy.latest,
        listed=tuple(entry.version for entry in policy.listed),
    )


async def statistics(supervisor: Supervisor, question: StatisticsQuestion) -> StatisticsList:
    by_version = sorted(counts_now(supervisor, supervisor.wanted()).items(), key=lambda entry: entry[0])
    return StatisticsList(
        versions=tuple(
            _statistics(supervisor, key, counts)
            for key, counts in by_version
            if question.model in (None, key[0]) and question.version in (None, key[1])
        )
    )


def _statistics(supervisor: Supervisor, key: VersionKey, counts: Counts) -> VersionStatistics:
    outcomes = [(code, count) for (method, _, code), count in counts.codes.items() if method != Method.METADATA]
    queue_counts, queue_ns = counts.times["queue"]
    computed = sum(count for (_, result), count in counts.signatures.items() if result == "answered")
    decode_ns, encode_ns = counts.numbers["decode_ns"], counts.numbers["encode_ns"]
    on_sessions_ns = sum(ns for _, ns in counts.signature_runs.values())
    never_falling = partial(supervisor.meters.never_falling, key)
    return VersionStatistics(
        model=key[0],
        version=key[1],
        last_ms=supervisor.meters.last_ms[key],
        executions=never_falling("executions", counts.executions),
        success=Duration(
            count=sum(count for code, count in outcomes if code == 0),
            ns=sum(ns for (method, _), (_, ns) in counts.latency.items() if method != Method.METADATA),
        ),
        fail=Duration(
            count=sum(count for code, count in outcomes if code != 0),
            ns=supervisor.meters.failed_ns[key],
        ),
        queue=Duration(count=sum(queue_counts), ns=queue_ns),
        compute_input=Duration(count=computed, ns=decode_ns),
        compute_infer=Duration(
            count=computed, ns=never_falling("compute_infer", max(0, on_sessions_ns - decode_ns - encode_ns))
        ),
        compute_output=Duration(count=computed, ns=encode_ns),
    )


def _worker(supervisor: Supervisor, instance: int) -> Worker:
    for worker in supervisor.workers:
        if worker.instance.id == instance:
            return worker
    raise ModelNotFound("its worker has ended")

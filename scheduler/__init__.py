"""The host's cores and their allocation: pure functions over frozen dataclasses.

Only `sysfs` does I/O: it reads the topology."""

from corelane.scheduler.allocation import CoreAllocation, Settings, VersionAllocation
from corelane.scheduler.allocator import allocate
from corelane.scheduler.demand import Cost, Demand, fit_cost
from corelane.scheduler.gateways import gateway_processes
from corelane.scheduler.profile import Profile
from corelane.scheduler.queueing import Prediction, Service, predict, service_of
from corelane.scheduler.sysfs import read_host
from corelane.scheduler.topology import Core, Host, core_list, parse_core_list, uniform_host

__all__ = [
    "Core",
    "CoreAllocation",
    "Cost",
    "Demand",
    "Host",
    "Prediction",
    "Profile",
    "Service",
    "Settings",
    "VersionAllocation",
    "allocate",
    "core_list",
    "fit_cost",
    "gateway_processes",
    "parse_core_list",
    "predict",
    "read_host",
    "service_of",
    "uniform_host",
]

"""What the host has and who gets it: pure functions over frozen dataclasses. Reads topology, does no other I/O."""

from scheduler.allocator import allocate
from scheduler.demand import Cost, Demand, fit_cost
from scheduler.gateways import gateway_processes
from scheduler.plan import Plan, Settings, VersionPlan
from scheduler.profile import Profile
from scheduler.queueing import Prediction, Service, predict, service_of
from scheduler.sysfs import read_host
from scheduler.topology import Core, Host, core_list, parse_core_list, uniform_host

__all__ = [
    "Core",
    "Cost",
    "Demand",
    "Host",
    "Plan",
    "Prediction",
    "Profile",
    "Service",
    "Settings",
    "VersionPlan",
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

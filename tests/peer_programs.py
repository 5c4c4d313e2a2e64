"""The very same work of ``bench_peers`` for other programs: NumPy, the same rows and order."""

WORK = '''
import hashlib
import numpy as np

def load(folder, site):
    """x float32 [examples, 30], scaled, and y of one site."""
    data = np.load(f"{folder}/{site}.npz")
    return data["x"], data["y"].astype(np.float32)

def train(vector, x, y, site, seed, round):
    """Two epochs of SGD on logistic regression; vector is [bias, weights], float32 [31]."""
    stream = int.from_bytes(hashlib.sha256(site.encode()).digest()[:4], "big")
    random = np.random.Generator(np.random.PCG64([seed, round, stream]))
    vector = vector.copy()
    for _ in range(2):
        order = random.permutation(len(y))
        for start in range(0, len(y), 16):
            rows = order[start : start + 16]
            p = 1 / (1 + np.exp(-(x[rows] @ vector[1:] + vector[0])))
            slope = (p - y[rows]) / len(rows)
            vector[1:] -= np.float32(0.05) * (x[rows].T @ slope + np.float32(0.001) * vector[1:])
            vector[0] -= np.float32(0.05) * slope.sum()
    return vector
'''
SERVER = """
import json, os, time
import numpy as np
from flwr.app import ArrayRecord
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()

class Noted(FedAvg):
    def configure_train(self, round, *rest):
        with open(os.environ["BENCH_NOTES"], "a") as file:
            file.write(json.dumps({"round": round, "time": time.time()}) + "\\n")
        return super().configure_train(round, *rest)

@app.main()
def main(grid, context):
    strategy = Noted(
        min_train_nodes=2, min_available_nodes=2, fraction_evaluate=0.0, min_evaluate_nodes=0
    )
    first = ArrayRecord([np.zeros(31, dtype=np.float32)])
    done = strategy.start(grid, first, num_rounds=int(context.run_config["rounds"]))
    np.save(os.environ["BENCH_NOTES"] + ".npy", done.arrays.to_numpy_ndarrays()[0])
    with open(os.environ["BENCH_NOTES"], "a") as file:
        file.write(json.dumps({"round": 0, "time": time.time()}) + "\\n")
"""
CLIENT = """
import os
import work
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()

@app.train()
def train(message, context):
    site = ("sahlgrenska", "halland")[int(context.node_config["partition-id"])]
    x, y = work.load(os.environ["BENCH_DATA"], site)
    vector = message.content["arrays"].to_numpy_ndarrays()[0]
    round = int(message.content["config"]["server-round"])
    vector = work.train(vector, x, y, site, int(os.environ["BENCH_SEED"]), round)
    metrics = MetricRecord({"num-examples": len(y)})
    content = RecordDict({"arrays": ArrayRecord([vector]), "metrics": metrics})
    return Message(content, reply_to=message)
"""
JOB = """
import sys
import numpy as np
from nvflare.app_common.np.recipes.fedavg import NumpyFedAvgRecipe
from nvflare.recipe.sim_env import SimEnv

recipe = NumpyFedAvgRecipe(
    name="bench", model=np.zeros(31, dtype=np.float32).tolist(), min_clients=2,
    num_rounds=int(sys.argv[1]), train_script="client.py",
)
sites = ["sahlgrenska", "halland"]
recipe.execute(SimEnv(num_clients=2, clients=sites, workspace_root=sys.argv[2])).get_result()
"""
SCRIPT = """
import json, os, sys, time
import numpy as np
import nvflare.client as flare
from nvflare.apis.dxo import MetaKey

sys.path.insert(0, os.environ["BENCH_DATA"])
import work

flare.init()
site = flare.get_site_name()
x, y = work.load(os.environ["BENCH_DATA"], site)
while flare.is_running():
    given = flare.receive()
    if given is None:
        break
    round = given.current_round + 1
    if site == "sahlgrenska":
        with open(os.environ["BENCH_NOTES"], "a") as file:
            file.write(json.dumps({"round": round, "time": time.time()}) + "\\n")
    vector = np.asarray(given.params["numpy_key"], dtype=np.float32)
    vector = work.train(vector, x, y, site, int(os.environ["BENCH_SEED"]), round)
    meta = {MetaKey.NUM_STEPS_CURRENT_ROUND: len(y)}
    flare.send(flare.FLModel(params={"numpy_key": vector}, meta=meta))
"""

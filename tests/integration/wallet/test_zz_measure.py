import asyncio, time, psycopg, signal, subprocess, sys, os
from wallet_servers import *
from wallet.load import Load, LoadPlan
async def quorum(nodes, database, tmp_path):
    doors={"sgp":f"http://127.0.0.1:{nodes[0].port}","fra":f"http://127.0.0.1:{nodes[1].port}"}
    async with Load(LoadPlan(doors,100,30,3),tmp_path/"q.jsonl") as load:
        await load.prepare()
        r=asyncio.create_task(load.run(5))
        await asyncio.sleep(2)
        lag=[]
        async def tick():
            while True:
                a=time.monotonic(); await asyncio.sleep(0.005); b=time.monotonic()
                if b-a>0.03: lag.append((round(a-t,3),round(b-a,3)))
        database.receiver.signal(signal.SIGSTOP); t=time.monotonic()
        k=asyncio.create_task(tick())
        await asyncio.sleep(2)
        database.receiver.signal(signal.SIGCONT)
        await r
        print("load process lag",lag)
        print(sorted((round(o.sent_s-t,2),round(o.latency_ms),o.action,o.status,o.served_by) for o in load.outcomes if o.latency_ms>120))
def test_quorum(nodes, database, tmp_path, directory):
    import json
    c=json.loads((directory/"sgp-1.json").read_text()); (port,)=free_ports(1); c["listen"]=f"127.0.0.1:{port}"
    p=directory/"w.json"; p.write_text(json.dumps(c)); p.chmod(0o600)
    proc=subprocess.Popen([sys.executable,"/tmp/siaga-wallet-watch.py",str(p)],stdout=open("/tmp/siaga-wallet-watch.log","w"))
    wait_until(lambda:listens(port),"x")
    nodes[0].port=port
    asyncio.run(quorum(nodes,database,tmp_path))
    for n in nodes: print(open(directory/f"{n.name}.log").read()[-3000:])
    proc.terminate(); proc.wait()

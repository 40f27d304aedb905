-- Posts the file named by BENCHMARK_BODY, of which BENCHMARK_JSON_BYTES are JSON; ends with one line of JSON (see Load in load.py).
local file = assert(io.open(os.getenv("BENCHMARK_BODY"), "rb"))
wrk.method = "POST"
wrk.body = file:read("*a")
wrk.headers["Content-Type"] = os.getenv("BENCHMARK_TYPE") or "application/json"
local header = os.getenv("BENCHMARK_JSON_BYTES")
if header then wrk.headers["Inference-Header-Content-Length"] = header end
file:close()

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '{"requests_s": %.3f, "p50_us": %.1f, "p99_us": %.1f, "errors": %d}\n',
    summary.requests / (summary.duration / 1e6),
    latency:percentile(50.0), latency:percentile(99.0),
    e.connect + e.read + e.write + e.status + e.timeout))
end

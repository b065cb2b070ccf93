-- Post one body over and over, each connection with a pause; print the sums as JSON.
--     wrk ... -s paced.lua URL -- BODY_FILE PAUSE_MS
-- The pause is drawn from 0 to twice its mean, so that the connections do not march in step.
local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  local file = assert(io.open(args[1], "rb"))
  wrk.method, wrk.body = "POST", file:read("*a")
  file:close()
  wrk.headers["Content-Type"] = "application/json"
  local request = wrk.format()
  wrk.request = function() return request end
  pause = tonumber(args[2])
  if pause > 0 then
    function delay() return math.random() * 2 * pause end
  end
  ok, overloaded = 0, 0
  function response(status)
    if status == 200 then ok = ok + 1 elseif status == 503 then overloaded = overloaded + 1 end
  end
end

function done(summary, latency)
  local errors, sums = summary.errors, {ok = 0, overloaded = 0}
  for _, thread in ipairs(threads) do
    for name in pairs(sums) do sums[name] = sums[name] + thread:get(name) end
  end
  io.write(string.format(
    '\n{"requests":%d,"seconds":%.6f,"p99_ms":%.4f,"ok":%d,"overloaded":%d,"broken":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(99) / 1e3,
    sums.ok, sums.overloaded, errors.connect + errors.read + errors.write + errors.timeout))
end

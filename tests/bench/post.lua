-- wrk script: distinct pre-signed receipts, one line "receipt share" each, from a file; the same evidence for all.
-- Arguments: file of receipts, number of lines to skip, file with the evidence parts of the body, boundary.
local threads = {}

function setup(thread)
  thread:set("id", #threads)
  table.insert(threads, thread)
end

function init(args)
  boundary, lines, used = args[4], {}, 0
  local number = 0
  for line in io.lines(args[1]) do
    if number >= tonumber(args[2]) then table.insert(lines, line) end
    number = number + 1
  end
  local file = io.open(args[3], "rb")
  evidence = file:read("*a")
  file:close()
  headers = { ["Content-Type"] = "multipart/form-data; boundary=" .. boundary }
end

local function part(name, value)
  return "--" .. boundary .. '\r\nContent-Disposition: form-data; name="' .. name .. '"\r\n\r\n' .. value .. "\r\n"
end

function request()
  used = used + 1
  local line = lines[(used - 1) % #lines + 1]
  local receipt, share = line:match("^(%S+) (%S+)$")
  return wrk.format("POST", nil, headers, part("receipt", receipt) .. part("holder_share", share) .. evidence)
end

function done(summary, latency)
  local total_used = 0
  for _, thread in ipairs(threads) do total_used = total_used + thread:get("used") end
  io.write(string.format(
    '\nRESULT {"requests": %d, "seconds": %.3f, "failed": %d, "used": %d, "p50_ms": %.2f, "p95_ms": %.2f, "p99_ms": %.2f}\n',
    summary.requests, summary.duration / 1e6,
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    total_used, latency:percentile(50) / 1000, latency:percentile(95) / 1000, latency:percentile(99) / 1000))
end

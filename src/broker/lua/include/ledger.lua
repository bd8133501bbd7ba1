-- ledger: append to an entry's record of ticks: newest first, at most 100 records.
-- A record is 1|from|to|count|outcome|at|task|reason: times of ticks in Unix s, `at` in Unix ms.
-- A run of ticks that did not run becomes one record.
local function escaped(text)
  return (string.gsub(text, '[%%|%c]', function(c) return string.format('%%%02x', string.byte(c)) end))
end

local function record(ticks, from, to, count, outcome, at_ms, task, reason)
  if outcome ~= 'enqueued' and outcome ~= 'refired' then
    local last = redis.call('LINDEX', ticks, 0) or ''
    local first, before, what = string.match(last, '^1|(%-?%d+)|%-?%d+|(%d+)|([^|]*)|')
    if what == outcome then
      count = tonumber(before) + tonumber(count)
      local line = table.concat({'1', first, to, string.format('%d', count), outcome, at_ms, task, reason}, '|')
      return redis.call('LSET', ticks, 0, line)
    end
  end
  redis.call('LPUSH', ticks, table.concat({'1', from, to, count, outcome, at_ms, task, reason}, '|'))
  redis.call('LTRIM', ticks, 0, 99)
end

-- Counts outcomes of an entry. Whatever somebody else wrote there, it is counted on from now.
local function tally(entry, outcome, by)
  local counted = redis.pcall('HINCRBY', entry, 'n:' .. outcome, by)
  if type(counted) == 'table' then redis.call('HSET', entry, 'n:' .. outcome, by) end
end

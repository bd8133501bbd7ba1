-- living: which tasks of an entry have not ended yet. Retrying counts as living.
local LIVING = {pending = true, scheduled = true, aggregating = true, active = true, retry = true}

-- Returns the living ids, and the state of each.
local function living(prefix, packed)
  local ids, states = {}, {}
  if packed and packed ~= '' then
    for _, id in ipairs(cmsgpack.unpack(packed)) do
      local state = redis.call('HGET', prefix .. id, 'state')
      if state and LIVING[state] then
        ids[#ids + 1] = id
        states[id] = state
      end
    end
  end
  return ids, states
end

-- The list with one id more, the newest 20 of them.
local function packed_with(ids, id)
  ids[#ids + 1] = id
  while #ids > 20 do table.remove(ids, 1) end
  return cmsgpack.pack(ids)
end

-- expiry: the time to begin by that a message names: a header, which is its name, then a 0x12, a length, and the text.
-- Returns Unix ms as text, or nothing.
local function expires_ms(message, header)
  local _, last = string.find(message, header, 1, true)
  local seconds = last and string.match(message, '^\18.(%d+)', last + 1)
  return seconds and seconds .. '000'
end

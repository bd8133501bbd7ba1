-- score: when leases end, for many of which it is said when.
-- The ids whose lease does end then are read once, since a score by itself is dear.
local leased = {}
local function score_of(lease, id, said)
  local same = leased[said]
  if not same then
    same = {}
    for _, other in ipairs(redis.call('ZRANGE', lease, said, said, 'BYSCORE', 'LIMIT', '0', '64')) do same[other] = said end
    leased[said] = same
  end
  return same[id] or redis.call('ZSCORE', lease, id)
end

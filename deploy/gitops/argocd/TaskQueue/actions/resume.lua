-- Workers take from all of its queues again.
for _, queue in ipairs(obj.spec.queues) do
  queue.paused = nil
end
return obj

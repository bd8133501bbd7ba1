-- Enqueues again from the next tick on.
obj.spec.suspend = false
return obj

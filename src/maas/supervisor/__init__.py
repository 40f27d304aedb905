"""The supervisor: the parent of every process of a server. Standard library only; knows no model.

```
maas serve ─exec▶ supervisor ─┬─ control   (started first; restarted with everything when it dies)
                              ├─ ingress   (control asks for it)
                              └─ hosts     (control asks for them, and decides about restarts)
```

It holds the locks on the data folder and the port, owns signals and the order of a drain, copies
what its children write on stderr to `logs/ID.log`, and its end closes the pipe that ends them.
"""

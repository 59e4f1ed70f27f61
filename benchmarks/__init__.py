"""Speed of the engine against the plain versions of ``tests/reference``: ``make bench``.

Read ``cases.py`` for what is timed, ``arms.py`` for the work of each arm. To time another way of
doing the same work, write its workload and name it in one line of ``arms.ARMS``.
"""

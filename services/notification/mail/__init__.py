"""E-mail: what users are told when they do not look.

turns, notices -> sorting      in the transaction that takes them in: a mail of its own, or gathered for later
gathered       -> rounds       one mail for all that came in an hour too many, in a day, or in a week
mails          -> sending      by any replica, under a lease in the row, again for a day until the server takes it
"""

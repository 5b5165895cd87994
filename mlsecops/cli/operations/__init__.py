"""Commands that operate a registry and handle incidents.

signed folder → registry → served version; alert → incident → steps of the playbook
"""

"""The laptop's normal system: who calls, and may this laptop be moved?"""

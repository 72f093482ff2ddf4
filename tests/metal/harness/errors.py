"""What the harness raises: one class per kind of fault."""


class MetalError(RuntimeError):
    """The call, or the kernel it ran, breaks a rule of Metal or of torch.mps.compile_shader."""


class OutOfBoundsError(MetalError):
    """A load or store outside every buffer, or a store between the elements of a strided view."""


class UninitialisedReadError(MetalError):
    """A load of memory that nobody has written."""


class DataRaceError(MetalError):
    """Two threads touched the same byte, at least one wrote it, and no barrier orders them."""


class DivergenceError(MetalError):
    """Threads that must meet at one barrier or SIMD-group function did not."""


class MisalignedError(MetalError):
    """A load or store at an address that is not a multiple of the type's alignment."""


class ReadOnlyError(MetalError):
    """A store to constant memory."""


class MemoryFaultError(MetalError):
    """The processor refused an access, or a thread's stack overflowed."""


class ToolchainError(MetalError):
    """clang or the linker is missing or failed for a reason that is not the kernel text's."""

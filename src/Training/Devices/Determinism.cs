using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Devices;

/// <summary>
/// On a GPU libtorch adds up by atomic operations in some functions, in whatever order threads come (an adapter of an embedding scatters
/// the gradients of its tokens so). It can be told to take other ways, and to refuse where there is none; TorchSharp has no call for that,
/// the library itself has.
/// </summary>
internal static unsafe class Determinism
{
    /// <summary>What cuBLAS takes its workspace by.</summary>
    public const string Workspace = "CUBLAS_WORKSPACE_CONFIG";

    /// <summary>
    /// The value that it has unless another was given. Without one of two values, libraries before 2.10 refuse products that have to be
    /// deterministic.
    /// </summary>
    public const string EnoughWorkspace = ":4096:8";

    // at::globalContext() and members of at::Context, by the names that the C++ compiler gives them.
    private const string GlobalContext = "_ZN2at13globalContextEv",
        SetAlgorithms = "_ZN2at7Context26setDeterministicAlgorithmsEbb",
        SetFill = "_ZN2at7Context39setDeterministicFillUninitializedMemoryEb",
        Algorithms = "_ZNK2at7Context23deterministicAlgorithmsEv";

    /// <summary>Tells libtorch to give equal bits each time, for the rest of the process; a processor does so anyway.</summary>
    /// <exception cref="InvalidOperationException">It cannot be told.</exception>
    public static void Require(Device device)
    {
        if (device.type == DeviceType.CPU) return;
        NativeEnvironment.SetUnlessGiven(Workspace, EnoughWorkspace);
        if (!Set(true)) throw new InvalidOperationException($"libtorch {Libtorch.Version} cannot be told to compute deterministically");
    }

    /// <summary>Sets it; whether it is so now.</summary>
    internal static bool Set(bool isRequired)
    {
        if (Find(GlobalContext) is not (not 0 and var context) || Find(SetAlgorithms) is not (not 0 and var set)
            || Find(Algorithms) is not (not 0 and var get)) return false;
        var of = ((delegate* unmanaged<nint>)context)();
        // New memory is filled for whoever reads what nobody wrote, at the cost of a write; nothing of ours reads it.
        if (Find(SetFill) is not 0 and var fill) ((delegate* unmanaged<nint, byte, void>)fill)(of, 0);
        ((delegate* unmanaged<nint, byte, byte, void>)set)(of, isRequired ? (byte)1 : (byte)0, 0);
        return (((delegate* unmanaged<nint, byte>)get)(of) != 0) == isRequired;
    }

    private static nint Find(string name) => Libtorch.ExportOf(name);
}

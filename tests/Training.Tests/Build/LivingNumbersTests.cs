using System.Reflection;
using System.Reflection.Emit;
using TorchSharp;

namespace FedRLora.Training.Tests.Build;

/// <summary>
/// TorchSharp makes numbers for itself in some of its methods, a sum's 1 for one, and nothing refers to them while libtorch reads them: a
/// collection at that moment changes the result. The banned symbols name those that the product would use; this finds any other.
/// </summary>
public sealed class LivingNumbersTests
{
    private const BindingFlags Declared =
        BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly;

    private const int Deepest = 8;

    private static readonly Dictionary<short, OpCode> Codes = typeof(OpCodes).GetFields(BindingFlags.Public | BindingFlags.Static)
        .Select(static field => (OpCode)field.GetValue(null)!).ToDictionary(static code => code.Value);

    private readonly Dictionary<MethodBase, bool> _known = [];

    [Fact]
    public void No_call_of_the_product_or_of_these_tests_leaves_a_number_to_the_collector()
    {
        var callers = typeof(Living).Assembly.GetTypes().Concat(typeof(LivingNumbersTests).Assembly.GetTypes())
            .Where(static type => type != typeof(Living))
            .SelectMany(static type => type.GetMethods(Declared).Concat<MethodBase>(type.GetConstructors(Declared)));
        Assert.Empty(callers.SelectMany(caller => CallsOf(caller).Where(call => Makes(call, 0))
            .Select(call => $"{caller.DeclaringType!.Name}.{caller.Name} calls {call}")));
    }

    [Fact]
    public void A_sum_is_found_to_make_one() =>
        Assert.True(Makes(typeof(torch.Tensor).GetMethod("op_Addition", [typeof(torch.Tensor), typeof(torch.Tensor)])!, 0));

    private bool Makes(MethodBase method, int depth)
    {
        if (method.DeclaringType?.Assembly != typeof(torch).Assembly || depth > Deepest) return false;
        if (method.DeclaringType == typeof(Scalar) && method.Name == "op_Implicit") return true;
        if (method.DeclaringType == typeof(ScalarExtensionMethods) && method.Name == nameof(ScalarExtensionMethods.ToScalar)) return true;
        if (_known.TryGetValue(method, out var makes)) return makes;
        _known[method] = false; // of a method that calls itself
        return _known[method] = CallsOf(method).Any(call => Makes(call, depth + 1));
    }

    private static IEnumerable<MethodBase> CallsOf(MethodBase method)
    {
        var code = method.GetMethodBody()?.GetILAsByteArray() ?? [];
        for (var at = 0; at < code.Length;)
        {
            var opcode = Codes[code[at] == 0xFE ? (short)(0xFE00 | code[at + 1]) : code[at]];
            at += opcode.Size;
            if (opcode.OperandType == OperandType.InlineMethod)
                yield return method.Module.ResolveMethod(
                    BitConverter.ToInt32(code, at), method.DeclaringType!.GetGenericArguments(),
                    method.IsGenericMethod ? method.GetGenericArguments() : null)!;
            at += opcode.OperandType switch
            {
                OperandType.InlineNone => 0,
                OperandType.ShortInlineBrTarget or OperandType.ShortInlineI or OperandType.ShortInlineVar => 1,
                OperandType.InlineVar => 2,
                OperandType.InlineI8 or OperandType.InlineR => 8,
                OperandType.InlineSwitch => 4 + 4 * BitConverter.ToInt32(code, at),
                _ => 4,
            };
        }
    }
}

using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;

namespace FedRLora.Benchmarks.Training;

/// <summary>The same steps by PyTorch and PEFT, or PyTorch alone, where this machine's Python has them: <c>peft_step.py</c>.</summary>
internal static class PeftStep
{
    private const string Script = "peft_step.py";

    public static async Task RunAsync(Settings settings)
    {
        foreach (var threads in ((int[])[1, settings.Threads]).Distinct())
        {
            string[] words =
            [
                Path.Combine(AppContext.BaseDirectory, Script), "--threads", threads.ToString(CultureInfo.InvariantCulture),
                "--runs", settings.Runs.ToString(CultureInfo.InvariantCulture), "--device", settings.Device.ToString(),
            ];
            try
            {
                using var python = Process.Start(new ProcessStartInfo(settings.Python, words))!;
                await python.WaitForExitAsync();
                if (python.ExitCode == 0) continue;
                Console.WriteLine($"peft: skipped, {settings.Python} {Script} ended with {python.ExitCode}, see above");
            }
            catch (Win32Exception e)
            {
                Console.WriteLine($"peft: skipped, {settings.Python} cannot be started ({e.Message}); give another with --python");
            }

            return;
        }
    }
}

using FedRLora.Training.Devices;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Devices;

public sealed class LibtorchTests
{
    [Fact]
    public void The_library_that_came_with_the_program_computes_known_answers_and_has_its_package_s_version()
    {
        Assert.Empty(KnownAnswers.Wrong(CPU));
        Assert.Equal(__version__, Libtorch.Version);
        Assert.Null(Libtorch.Problem);
    }

    [Fact]
    public void Whatever_cannot_be_computed_is_told_computation_by_computation()
    {
        var wrong = KnownAnswers.Wrong(new Device(DeviceType.META));

        Assert.Equal(13, wrong.Count);
        Assert.All(wrong, static line => Assert.Contains(": ", line, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("version.py", "from typing import Optional\n__version__ = '2.10.0+cu128'\ncuda = '12.8'\n", "2.10.0+cu128")]
    [InlineData("version.py", "__version__ = \"2.11.0a0\"\n", "2.11.0a0")]
    [InlineData("version.py", "__version__ = '<script>'\n", null)]
    [InlineData("build-version", "2.10.0+cpu\n", "2.10.0+cpu")]
    [InlineData("build-version", "2.10; rm\n", null)]
    [InlineData("build-version", "", null)]
    [InlineData("other", "2.10.0", null)]
    public void A_library_s_version_is_read_beside_it(string file, string text, string? version)
    {
        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder.File("lib"));
        File.WriteAllText(folder.File(file), text);

        Assert.Equal(version, Libtorch.VersionBeside(folder.File("lib")));
    }

    [Theory]
    [InlineData("", "holds no libtorch.so")]
    [InlineData("libtorch.so", "libtorch.so cannot be loaded: ")]
    public void A_folder_without_one_or_with_a_broken_one_is_told_in_a_line(string file, string said)
    {
        using var folder = new TemporaryFolder();
        if (file.Length > 0) File.WriteAllText(folder.File(file), "no library");

        var problem = Libtorch.Load(folder.Root, own: []);

        Assert.Contains(said, problem, StringComparison.Ordinal);
        Assert.StartsWith($"{Libtorch.Variable}: {folder.Root}: ", problem, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', problem!);
        Assert.Contains("came with a libtorch of its own", Libtorch.Load(folder.Root, [folder.Root, Environment.ProcessPath!]));
    }
}

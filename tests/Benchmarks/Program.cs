using FedRLora.Benchmarks;

switch (args.FirstOrDefault())
{
    case "loading":
        await Loading.RunAsync(args[1..]);
        break;
    case "tokenizers":
        TokenizerBenchmark.Run();
        break;
    case "rounds":
        await RoundBenchmark.RunAsync(args[1..]);
        break;
    default:
        Console.WriteLine("dotnet run --project tests/Benchmarks -c Release -- loading | tokenizers | rounds");
        break;
}

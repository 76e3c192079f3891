using FedRLora.Generator.Measures;
using FedRLora.Generator.Tasks;

switch (args)
{
    case ["tasks", "--out", var folder]:
        TaskFiles.Write(folder);
        return 0;
    case ["baselines", var folder]:
        Baselines.Print(folder, Console.Out);
        return 0;
    default:
        await Console.Error.WriteLineAsync("usage: generator tasks --out FOLDER | baselines FOLDER");
        return 2;
}
